"""What jobs and bad luck do to the local engine: trees that flee, kills, full disks, small memories."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maillage.engines.local import limits, tree
from maillage.engines.local.engine import LocalEngine
from maillage.engines.local.records import RunFolder, lock_holder
from maillage.engines.port import RunOrder, RunReport
from maillage.workloads.lifecycle import EndReason, RunState
from tests.contract.engine_suite import ENDED, POOLS, plain_order

FLEE = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def flee(depth):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:          # the parent goes: an orphan in a session of its own
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            if depth:
                flee(depth - 1)
            while True:
                time.sleep(60)
        os._exit(0)
flee(3)
subprocess = os.spawnlp(os.P_NOWAIT, "setsid", "setsid", "sh", "-c", "trap '' TERM; sleep 600 & sleep 600")
print("fled", flush=True)
"""


class Rig:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.mark = f"HOSTILE_MARK={uuid.uuid4().hex}"
        self.engine = LocalEngine(root, POOLS)

    def start(self, run_id: str = "ja.1", **fields: Any) -> RunOrder:
        name, _, value = self.mark.partition("=")
        env = {name: value, **fields.pop("env", {})}
        order = plain_order(run_id, env=env, **fields)
        self.engine.start(order, self.root / run_id)
        return order

    def python(self, script: str, run_id: str = "ja.1", **fields: Any) -> RunOrder:
        return self.start(run_id, command=("python", "-c", script), **fields)

    def wait(self, *states: RunState, run_id: str = "ja.1", within_s: float = 20.0) -> RunReport:
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            for report in self.engine.observe():
                if report.run_id == run_id and report.state in (states or ENDED):
                    return report
            time.sleep(0.02)
        raise AssertionError(f"{run_id} never came to {states or ENDED}: {self.engine.observe()}")

    def log(self, worker: int = 0, run_id: str = "ja.1") -> str:
        return self.engine.logs(run_id, worker, 0, 1 << 20)[1].decode()

    def until_log(self, words: str, run_id: str = "ja.1") -> None:
        until_s = time.monotonic() + 20
        while words not in self.log(run_id=run_id):
            assert time.monotonic() < until_s, self.log(run_id=run_id)
            time.sleep(0.02)

    def alive(self) -> list[int]:
        return tree.with_environment(self.mark)

    def until_many(self) -> None:
        until_s = time.monotonic() + 20
        while len(self.alive()) < 6:
            assert time.monotonic() < until_s
            time.sleep(0.02)

    def none_left(self) -> None:
        assert self.alive() == [], [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.alive()]

    def supervisor(self, run_id: str = "ja.1") -> int:
        holder = lock_holder(RunFolder(self.root / run_id))
        assert holder is not None
        return holder.pid


@pytest.fixture(params=["with cgroups", "without"])
def rig(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    if request.param == "without":
        monkeypatch.setattr(limits, "detect", lambda name: limits.Hierarchy())
    yield from _rig(tmp_path / "runs")


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Rig]:
    yield from _rig(tmp_path / "runs")


def _rig(root: Path) -> Iterator[Rig]:
    rig = Rig(root)
    yield rig
    for report in rig.engine.observe():
        rig.engine.stop(report.run_id, EndReason.CANCELLED, 0.0)
    for report in rig.engine.observe():
        rig.wait(run_id=report.run_id)
    rig.engine.close()
    rig.none_left()


# ---- trees ------------------------------------------------------------------------------------


def test_a_tree_that_flees_and_ignores_the_stop_ends_whole(rig: Rig) -> None:
    rig.python(FLEE + "time.sleep(600)")
    rig.until_log("fled")
    rig.until_many()
    rig.engine.stop("ja.1", EndReason.CANCELLED, 0.3)
    assert rig.wait().reason is EndReason.CANCELLED
    rig.none_left()


def test_what_a_finished_run_leaves_behind_ends_with_it(rig: Rig) -> None:
    rig.python(FLEE)
    assert rig.wait().reason is EndReason.SUCCEEDED
    rig.none_left()


def test_a_service_that_ends_is_told_with_its_own_last_line(rig: Rig) -> None:
    rig.python("import sys; print('loading'); sys.exit('maillage replica: no such model; pip install it')")
    ended = rig.wait()
    assert ended.reason is EndReason.FAILED
    assert ended.message == "worker 0 exited with code 1: no such model; pip install it"


def test_one_worker_fails_and_the_fled_of_all_end(rig: Rig) -> None:
    rig.python(
        FLEE + "import sys; time.sleep(0.3); sys.exit(7) if os.environ['RANK'] == '1' else time.sleep(600)",
        workers=2,
        grace_s=0.3,
    )
    ended = rig.wait()
    assert ended.reason is EndReason.FAILED and ended.message == "worker 1 exited with code 7"
    assert ended.exit_codes == (137, 7)
    rig.none_left()


def test_a_tree_that_forks_without_end_is_outrun(rig: Rig) -> None:
    rig.start(script="trap '' TERM; echo go; while :; do (setsid sleep 600 &); sleep 0.001; done")
    rig.until_log("go")
    time.sleep(0.3)
    rig.engine.stop("ja.1", EndReason.CANCELLED, 0.1)
    rig.wait()
    rig.none_left()


def test_a_job_that_kills_its_own_process_group_does_not_reach_the_supervisor(plain: Rig) -> None:
    plain.start(script="kill -9 0")
    ended = plain.wait()
    assert ended.reason is EndReason.FAILED and "SIGKILL" in ended.message


# ---- kills ------------------------------------------------------------------------------------


def test_a_killed_supervisor_ends_the_run_as_lost_and_leaves_nothing(rig: Rig) -> None:
    rig.python(FLEE + "time.sleep(600)")
    rig.until_log("fled")
    os.kill(rig.supervisor(), signal.SIGKILL)
    ended = rig.wait()
    assert (ended.reason, ended.message) == (
        EndReason.NODE_LOST,
        "its supervisor was killed; what it had started was ended",
    )
    rig.none_left()


def test_a_supervisor_killed_while_nobody_looks_is_found_later(rig: Rig) -> None:
    order = rig.python(FLEE + "time.sleep(600)")
    rig.until_log("fled")
    rig.engine.close()
    os.kill(rig.supervisor(), signal.SIGKILL)
    time.sleep(0.1)
    rig.engine = LocalEngine(rig.root, POOLS)
    rig.engine.start(order, rig.root / "ja.1")  # ordered again before it was looked at: not started again
    assert rig.wait().reason is EndReason.NODE_LOST
    assert rig.log().count("fled") == 1
    rig.none_left()


def test_a_killed_fork_server_is_replaced(plain: Rig) -> None:
    plain.start("ja.1", script="true")
    plain.wait()
    process = plain.engine._zygote._process
    assert process is not None
    process.kill()
    plain.start("jb.1", script="true")
    assert plain.wait(run_id="jb.1").reason is EndReason.SUCCEEDED


def test_killed_between_the_record_and_the_fork_it_is_started_once_ordered_again(plain: Rig) -> None:
    folder = RunFolder(plain.root / "ja.1")
    folder.make()
    folder.write("run", {"run_id": "ja.1", "workers": 1})
    plain.engine.close()
    plain.engine = LocalEngine(plain.root, POOLS)
    assert plain.engine.observe() == ()  # nobody launched it: the network orders it again
    plain.start(script="echo once")
    assert plain.wait().reason is EndReason.SUCCEEDED and plain.log() == "once\n"


def test_of_two_supervisors_for_one_run_one_starts_it(plain: Rig) -> None:
    order = plain_order("ja.1", script="echo once; sleep 0.3")
    folder = RunFolder(plain.root / "ja.1")
    folder.make()
    (folder.path / "script.sh").write_text(order.script)
    folder.write("run", {"run_id": "ja.1", "workers": 1})
    plan = plain.engine._plan(order, folder, str(folder.path / "script.sh"))
    for _ in range(4):
        plain.engine._zygote.launch(plan)
    plain.engine.start(order, folder.path)
    assert plain.wait().reason is EndReason.SUCCEEDED
    assert plain.log() == "once\n"


def test_after_a_reboot_the_runs_of_before_are_lost(plain: Rig) -> None:
    folder = RunFolder(plain.root / "ja.1")
    folder.make()
    folder.write("run", {"run_id": "ja.1", "workers": 1})
    (folder.state / "lock").write_text(f"{os.getpid()} 1 an-earlier-boot\n")
    plain.engine.close()
    plain.engine = LocalEngine(plain.root, POOLS)
    ended = plain.wait()
    assert (ended.reason, ended.message) == (EndReason.NODE_LOST, "the machine was restarted")


def test_a_run_whose_folder_is_deleted_does_not_live_on_unseen(rig: Rig) -> None:
    rig.python(FLEE + "time.sleep(600)", site_stops_after_s=2.0, grace_s=0.1)
    rig.until_many()
    rig.wait(RunState.RUNNING)
    supervisor = rig.supervisor()
    shutil.rmtree(rig.root / "ja.1")
    until_s = time.monotonic() + 20
    while Path(f"/proc/{supervisor}/stat").exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    rig.none_left()
    assert rig.wait().reason is EndReason.NODE_LOST


# ---- leases and clocks ------------------------------------------------------------------------


def test_a_lease_is_kept_by_contact_alone_whatever_files_say_of_the_time(plain: Rig) -> None:
    plain.start(script="sleep 600", site_stops_after_s=0.6)
    plain.wait(RunState.RUNNING)
    until_s = time.monotonic() + 1.5
    while time.monotonic() < until_s:
        plain.engine.renew_leases(time.monotonic())
        os.utime(plain.root / "lease", (1, 1))  # as if the clock had been set back by decades
        time.sleep(0.1)
    assert plain.wait(RunState.RUNNING).reason is None
    (plain.root / "lease").write_text("1e300")  # nonsense is no contact in the future
    ended = plain.wait()
    assert ended.reason is EndReason.SITE_LOST and "0.6 s" in ended.message


# ---- memory and disk --------------------------------------------------------------------------


def test_too_much_memory_is_told_as_such(plain: Rig) -> None:
    plain.python(
        "b = bytearray(256 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1", memory_mib_per_worker=64
    )
    ended = plain.wait()
    if "memory" in ended.enforced:
        assert ended.reason is EndReason.OUT_OF_MEMORY and "64 MiB" in ended.message
    else:  # held by each process alone: the allocation fails inside the job
        assert ended.reason is EndReason.FAILED and "MemoryError" in plain.log()


def test_without_cgroups_memory_is_held_process_by_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "detect", lambda name: limits.Hierarchy())
    for rig in _rig(tmp_path / "runs"):
        rig.python("bytearray(256 << 20)", memory_mib_per_worker=64)
        ended = rig.wait()
        assert ended.enforced == () and ended.reason is EndReason.FAILED
        assert "MemoryError" in rig.log()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_as_such_and_loses_no_end(small_disk: Path) -> None:
    for rig in _rig(small_disk / "runs"):
        rig.start(script='head -c 20M /dev/zero > "$MAILLAGE_OUTPUT_DIR/x" || exit 3')
        ended = rig.wait()
        assert ended.reason is EndReason.DISK_FULL and "disk is full" in ended.message
        assert ended.exit_codes == (3,)
        rig.start("jb.1", script="true")  # and there is no room to begin another
        assert rig.wait(run_id="jb.1").reason is EndReason.DISK_FULL
        rig.engine.release("ja.1")
        while list((rig.root / ".trash").iterdir()):
            rig.engine.observe()
            time.sleep(0.02)
        rig.start("jc.1", script="true")  # with room again, all is well
        assert rig.wait(run_id="jc.1").reason is EndReason.SUCCEEDED


def test_output_that_fills_the_disk_does_not_end_the_run_by_itself(small_disk: Path) -> None:
    for rig in _rig(small_disk / "runs"):
        rig.start(script="head -c 20M /dev/zero; rm -rf $TMPDIR; exit 0")
        assert rig.wait().reason is EndReason.SUCCEEDED


def test_output_that_a_full_disk_does_not_take_is_told(small_disk: Path) -> None:
    for rig in _rig(small_disk / "runs"):
        rig.start(script='dd if=/dev/zero of="$MAILLAGE_OUTPUT_DIR/x" 2> /dev/null; seq 100000; true')
        ended = rig.wait()
        assert ended.reason is EndReason.SUCCEEDED and ended.exit_codes == (0,)
        kept_bytes = len(rig.log())
        said = f"worker 0's output after byte {kept_bytes} could not be kept: the disk is full"
        assert ended.message == said


def test_a_file_size_limit_counts_as_a_full_disk(plain: Rig) -> None:
    plain.python(
        "import resource, os; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL);"
        "open('x', 'wb').write(b'x' * 10000)"
    )
    ended = plain.wait()
    assert ended.reason is EndReason.DISK_FULL and ended.exit_codes == (128 + signal.SIGXFSZ,)


# ---- commands and environment -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("no-such-program",), "command 'no-such-program' not found; PATH searched: "),
        (("./missing.sh",), "command './missing.sh' not found in the work folder"),
        (("./plain.txt",), "it is not executable (chmod +x)"),
        (("./nonsense",), "it is no program"),
        (("./orphan.py",), "its interpreter (the first line, after #!) does not exist"),
        (("/etc",), "it is not executable"),
    ],
)
def test_a_command_that_cannot_be_is_told(plain: Rig, command: tuple[str, ...], words: str) -> None:
    work = plain.root / "ja.1" / "work"
    work.mkdir(parents=True)
    for name, text, mode in (
        ("plain.txt", "words", 0o644),
        ("nonsense", "words", 0o755),
        ("orphan.py", "#!/no/such/python\n", 0o755),
    ):
        (work / name).write_text(text)
        (work / name).chmod(mode)
    plain.start(command=command, workers=2)
    ended = plain.wait()
    assert ended.reason is EndReason.COMMAND_NOT_FOUND and ended.exit_codes == (127, 127)
    assert words in ended.message, ended.message


def test_the_environment_is_clean_and_speaks_torchrun(plain: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILLAGE_TOKEN", "the control plane's own")
    monkeypatch.setenv("OF_THE_PARENT", "1")
    plain.engine.close()
    plain.engine = LocalEngine(plain.root, POOLS, site="paris")
    script = "import os, json, sys; print(json.dumps([sys.executable, os.getcwd(), dict(os.environ)]))"
    plain.python(script, workers=2, env={"COLOUR": "blue", "RANK": "77"}, secrets={"KEY": "s"}, array_index=4)
    plain.wait()
    both = [json.loads(plain.log(worker)) for worker in (0, 1)]
    for rank, (executable, folder, env) in enumerate(both):
        assert Path(executable).parent == Path(sys.executable).parent
        assert folder == str(plain.root / "ja.1" / "work") and env["HOME"].startswith(
            str(plain.root / "ja.1")
        )
        assert (env["RANK"], env["WORLD_SIZE"], env["LOCAL_RANK"]) == (str(rank), "2", str(rank))
        assert (env["LOCAL_WORLD_SIZE"], env["MASTER_ADDR"]) == ("2", "127.0.0.1")
        assert (env["COLOUR"], env["KEY"], env["MAILLAGE_SITE"]) == ("blue", "s", "paris")
        assert (env["MAILLAGE_JOB_ID"], env["MAILLAGE_RUN_ID"], env["MAILLAGE_ATTEMPT"]) == (
            "ja",
            "ja.1",
            "1",
        )
        assert env["MAILLAGE_ARRAY_INDEX"] == "4"
        for name in ("HOME", "TMPDIR", "MAILLAGE_CHECKPOINT_DIR", "MAILLAGE_OUTPUT_DIR"):
            assert Path(env[name]).is_dir()
        assert "MAILLAGE_TOKEN" not in env and "OF_THE_PARENT" not in env
    assert both[0][2]["MASTER_PORT"] == both[1][2]["MASTER_PORT"]


def test_folders_are_the_owners_alone(plain: Rig) -> None:
    plain.start(script="sleep 600")
    plain.wait(RunState.RUNNING)
    assert (plain.root / "ja.1").stat().st_mode & 0o077 == 0


# ---- output -----------------------------------------------------------------------------------


def test_output_is_bounded_and_says_from_where_it_is_kept(tmp_path: Path) -> None:
    for rig in _rig(tmp_path / "runs"):
        rig.engine.close()
        rig.engine = LocalEngine(rig.root, POOLS, segment_bytes=10_000, segments_kept=3)
        rig.start(script="seq 1 100000")
        assert rig.wait().reason is EndReason.SUCCEEDED
        kept = sum(path.stat().st_size for path in (rig.root / "ja.1" / "logs").iterdir())
        assert kept <= 30_000
        whole = b"".join(b"%d\n" % number for number in range(1, 100_001))
        start, _ = rig.engine.logs("ja.1", 0, 0, 10)
        assert start >= len(whole) - 30_000
        read = b""
        while data := rig.engine.logs("ja.1", 0, start + len(read), 4096)[1]:
            read += data
        assert read == whole[start:]


def test_cpu_time_is_metered_as_it_runs_and_at_the_end(plain: Rig) -> None:
    plain.python("import time\nwhile time.process_time() < 0.5: pass")
    ended = plain.wait()
    assert 0.4 <= ended.metered_cpu_s < 30


def test_news_are_announced(plain: Rig) -> None:
    import select

    plain.start(script="sleep 0.3; echo hello; sleep 600")
    seen: set[str] = set()
    until_s = time.monotonic() + 10
    while "ja.1" not in seen and time.monotonic() < until_s:
        select.select([plain.engine.fileno()], [], [], 1.0)
        plain.engine.observe()
        seen |= plain.engine.fresh_output()
    assert "ja.1" in seen
