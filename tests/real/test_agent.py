"""The agent over a real engine and a real line: what it brings, keeps, tells and survives."""

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from maillage.control.agent import Agent
from maillage.control.agent.agent import Replaced
from maillage.control.archives import pack, unpack
from maillage.control.protocol import ShellOrder, StopOrder
from maillage.engines.local.engine import LocalEngine
from maillage.engines.port import PoolCapacity, RunOrder
from maillage.workloads.lifecycle import EndReason, RunState
from tests.contract.engine_suite import plain_order
from tests.real.agent_rig import TOKEN, Network

POOLS = (PoolCapacity("cpu", 1, cpus_per_node=2, memory_mib_per_node=1024),)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    network = Network()
    await network.start()
    yield network
    await network.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An agent's folder; whatever a test leaves running in it is ended."""
    folder = tmp_path / "paris"
    yield folder
    engine = LocalEngine(folder / "runs", POOLS)
    while any(not report.state.ended for report in engine.observe()):
        for report in engine.observe():
            engine.stop(report.run_id, EndReason.CANCELLED, 0.0)
        time.sleep(0.05)
    engine.close()


@asynccontextmanager
async def _agent(network: Network, folder: Path) -> AsyncIterator[Agent]:
    """An agent that serves; at the end it goes, and what it ran is ended."""
    engine = LocalEngine(folder / "runs", POOLS, site="paris")
    agent = Agent("paris", network.url, TOKEN, engine, folder)
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        engine.close()


@pytest.fixture
async def agent(network: Network, folder: Path) -> AsyncIterator[Agent]:
    async with _agent(network, folder) as agent:
        yield agent
        await _end_all(network)


async def _end_all(network: Network) -> None:
    network.failing, network.refusing = False, 0
    for run_id in list(network.orders):
        await network.stop_run(StopOrder(run_id, EndReason.CANCELLED, 0.0))
    await network.until(lambda: not network.orders)


def _bash(run_id: str, script: str, **fields: Any) -> RunOrder:
    return plain_order(run_id, script=script, **fields)


def _folder(tmp_path: Path, network: Network, files: dict[str, str]) -> str:
    source = tmp_path / "source"
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    packed = pack(source, into=tmp_path)
    return network.keep(packed.path.read_bytes())


def _unpacked(data: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read().decode() for m in tar if m.isreg()}  # type: ignore[union-attr]


async def test_a_job_runs_and_its_output_and_log_come_home(
    network: Network, agent: Agent, tmp_path: Path
) -> None:
    workdir = _folder(tmp_path, network, {"main.py": "import sub\nsub.go()", "sub.py": _SUB})
    data = _folder(tmp_path / "two", network, {"corpus.txt": "words"})
    await network.order(
        plain_order("ja.1", command=("python", "main.py"), workdir=workdir, inputs=((data, "data/in"),))
    )
    ended = await network.end_of("ja.1")
    assert (ended.state, ended.reason, ended.exit_codes) == (RunState.EXITED, EndReason.SUCCEEDED, (0,)), (
        ended
    )
    assert _unpacked(network.artifacts[ended.output]) == {"result.txt": "WORDS"}
    assert network.logs["ja.1", 0] == b"done\n" and ("ja.1", 0) in network.finished_logs
    assert ended.enforced is not None and ended.metered_cpu_s > 0
    states = [report.state for report in network.history if report.run_id == "ja.1"]
    assert states == sorted(states, key=list(RunState).index)  # never back
    runs = tmp_path / "paris" / "runs"
    await _until(lambda: not (runs / "ja.1").exists())


_SUB = """
import os
def go():
    out = os.environ["MAILLAGE_OUTPUT_DIR"]
    open(out + "/result.txt", "w").write(open("data/in/corpus.txt").read().upper())
    print("done")
"""


async def _until(holds: Callable[[], Any], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.02)


async def test_checkpoints_travel_while_it_runs_and_at_the_end_and_another_run_goes_on_from_there(
    network: Network, agent: Agent
) -> None:
    script = """
    cd "$MAILLAGE_CHECKPOINT_DIR"; step=$(cat step 2>/dev/null || echo 0); echo "from $step"
    trap 'echo last > step.tmp; mv step.tmp step; exit 0' TERM
    echo junk > half.tmp; echo junk > .hidden
    while true; do step=$((step+1)); echo $step > step.tmp; mv step.tmp step; sleep 0.1; done
    """
    await network.order(_bash("ja.1", script, checkpoint_interval_s=0.2, grace_s=5))
    await network.until(lambda: "ja.1" in network.reports and network.reports["ja.1"].checkpoint)
    first = network.reports["ja.1"]
    assert first.state is RunState.RUNNING and first.checkpoint_at_ms >= first.started_at_ms
    assert set(_unpacked(network.artifacts[first.checkpoint])) == {"step"}
    await network.stop_run(StopOrder("ja.1", EndReason.PREEMPTED, 5.0))
    ended = await network.end_of("ja.1")
    assert ended.reason is EndReason.PREEMPTED
    assert _unpacked(network.artifacts[ended.checkpoint]) == {"step": "last\n"}
    await network.order(_bash("ja.2", script, restore=ended.checkpoint))
    await network.until(lambda: b"from last" in network.logs.get(("ja.2", 0), b""))


async def test_a_script_that_writes_into_its_work_folder_goes_on_from_there(
    network: Network, agent: Agent, tmp_path: Path
) -> None:
    workdir = _folder(tmp_path, network, {"train.sh": _UNMODIFIED, "checkpoints/old": "from home"})
    terms: Any = {"workdir": workdir, "checkpoint_path": "checkpoints", "checkpoint_interval_s": 0.2}
    await network.order(_bash("ja.1", "exec bash train.sh", **terms))
    await network.until(lambda: any("step" in _unpacked(data) for data in network.artifacts.values()))
    await network.stop_run(StopOrder("ja.1", EndReason.REQUEUED, 5.0))
    first = await network.end_of("ja.1")
    kept = _unpacked(network.artifacts[first.checkpoint])
    assert set(kept) == {"old", "step"}
    del kept["old"]
    without_old = _folder(tmp_path / "kept", network, kept)
    await network.order(_bash("ja.2", "exec bash train.sh", **terms, restore=without_old))
    await network.until(lambda: f"from {kept['step'].strip()}".encode() in network.logs.get(("ja.2", 0), b""))
    await network.until(lambda: network.reports["ja.2"].checkpoint)
    second = network.reports["ja.2"]
    assert set(_unpacked(network.artifacts[second.checkpoint])) == {"step"}  # what is older made way


_UNMODIFIED = """
mkdir -p checkpoints; step=$(cat checkpoints/step 2>/dev/null || echo 0); echo "from $step"
while true; do step=$((step+1)); echo $step > s.tmp; mv s.tmp checkpoints/step; sleep 0.1; done
"""


async def test_a_checkpoint_folder_never_leads_out_of_the_run(
    network: Network, agent: Agent, tmp_path: Path
) -> None:
    workdir = _folder(tmp_path, network, {"a-file": "x"})
    for number, path in enumerate(("a-file", "a-file/below", "../up")):
        await network.order(
            plain_order(f"ja{number}.1", command=("true",), workdir=workdir, checkpoint_path=path)
        )
        ended = await network.end_of(f"ja{number}.1")
        assert ended.reason is EndReason.INPUT_MISSING and repr(path) in ended.message, ended
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("do not carry away")
    script = f"rmdir ck; ln -s {tmp_path}/secret ck; sleep 600"
    await network.order(_bash("jb.1", script, checkpoint_path="ck", checkpoint_interval_s=0.1))
    await network.until(lambda: "jb.1" in network.reports and "leads out" in network.reports["jb.1"].message)
    assert not network.reports["jb.1"].checkpoint


async def test_what_cannot_be_brought_is_told(network: Network, agent: Agent) -> None:
    missing = "sha256:" + "0" * 64
    garbage = network.keep(b"no archive at all")
    await network.order(
        _bash("ja.1", "true", workdir=missing),
        _bash("jb.1", "true", inputs=((garbage, "data"),)),
        _bash("jc.1", "true", inputs=((garbage, "../../etc"),)),
        plain_order("jd.1", command=("no-such-command", "x")),
    )
    for run_id, words in (("ja.1", "work folder"), ("jb.1", "input data"), ("jc.1", "leads outside")):
        ended = await network.end_of(run_id)
        assert ended.reason is EndReason.INPUT_MISSING and words in ended.message, ended
    ended = await network.end_of("jd.1")
    assert ended.reason is EndReason.COMMAND_NOT_FOUND
    assert "'no-such-command' not found; PATH searched: /" in ended.message


async def test_logs_flow_while_it_runs(network: Network, agent: Agent) -> None:
    await network.order(_bash("ja.1", 'echo "rank $RANK"; sleep 600', workers=2))
    await network.until(lambda: network.logs.get(("ja.1", 1)) == b"rank 1\n")
    assert ("ja.1", 1) not in network.finished_logs


async def test_much_output_arrives_whole(network: Network, agent: Agent) -> None:
    await network.order(_bash("ja.1", "seq 1 400000"))
    ended = await network.end_of("ja.1")
    assert ended.reason is EndReason.SUCCEEDED
    assert network.logs["ja.1", 0] == b"".join(b"%d\n" % n for n in range(1, 400001))


async def test_a_control_plane_that_is_away_costs_nothing(network: Network, agent: Agent) -> None:
    await network.order(
        _bash("ja.1", "echo before; sleep 1; echo after > $MAILLAGE_OUTPUT_DIR/x; echo after")
    )
    await network.until(lambda: network.logs.get(("ja.1", 0)) == b"before\n")
    network.failing = True
    await asyncio.sleep(2.0)
    assert not network.ended
    network.failing = False
    ended = await network.end_of("ja.1")
    assert ended.reason is EndReason.SUCCEEDED and _unpacked(network.artifacts[ended.output]) == {
        "x": "after\n"
    }
    assert network.logs["ja.1", 0] == b"before\nafter\n"
    assert network.sent_orders.count("ja.1") == 1


async def test_a_cut_line_is_silent_and_the_site_stops_what_asks_for_it(
    network: Network, agent: Agent
) -> None:
    await network.order(
        _bash("ja.1", "sleep 600", site_stops_after_s=1.0),
        _bash("jb.1", "sleep 600", site_stops_after_s=30.0),
    )
    await network.until(lambda: all(r.state is RunState.RUNNING for r in network.reports.values()))
    await network.until(lambda: len(network.reports) == 2)
    await asyncio.sleep(2.0)  # twice its patience, with a line: it lives
    assert network.reports["ja.1"].state is RunState.RUNNING
    agent.cut(3.0)
    calls = network.calls
    await asyncio.sleep(2.5)
    assert network.calls == calls
    ended = await network.end_of("ja.1")
    assert (ended.state, ended.reason) == (RunState.EXPIRED, EndReason.SITE_LOST)
    assert network.reports["jb.1"].state is RunState.RUNNING


async def test_a_cut_is_lifted_by_one_of_no_time(network: Network, agent: Agent) -> None:
    agent.cut(600.0)
    await network.order(_bash("ja.1", "true"))
    calls = network.calls
    await asyncio.sleep(1.0)
    assert network.calls == calls
    agent.cut(0.0)
    assert (await network.end_of("ja.1")).reason is EndReason.SUCCEEDED


async def test_a_run_the_network_gave_up_is_ended_and_forgotten(
    network: Network, agent: Agent, tmp_path: Path
) -> None:
    await network.order(_bash("ja.1", "echo $$; exec sleep 600"))
    await network.until(lambda: network.logs.get(("ja.1", 0)))
    pid = int(network.logs["ja.1", 0])
    await network.drop("ja.1")
    await _until(lambda: not Path(f"/proc/{pid}").exists())
    await _until(lambda: not (tmp_path / "paris" / "runs" / "ja.1").exists())


async def test_a_stop_while_files_are_brought(network: Network, agent: Agent, tmp_path: Path) -> None:
    network.refusing = 0
    big = network.keep(os.urandom(1000))
    await network.order(_bash("ja.1", "true", workdir=big))
    await network.stop_run(StopOrder("ja.1", EndReason.CANCELLED, 1.0))
    ended = await network.end_of("ja.1")
    assert ended.reason in (EndReason.CANCELLED, EndReason.INPUT_MISSING)


async def test_an_agent_that_comes_back_finds_its_runs(network: Network, folder: Path) -> None:
    async with _agent(network, folder):
        await network.order(
            _bash(
                "ja.1", "echo once; until [ -e ../go ]; do sleep 0.05; done; echo x > $MAILLAGE_OUTPUT_DIR/x"
            ),
            _bash("jb.1", "echo $(date) > $MAILLAGE_CHECKPOINT_DIR/c; sleep 600", checkpoint_interval_s=0.1),
        )
        await network.until(lambda: network.logs.get(("ja.1", 0)))
        await network.until(lambda: "jb.1" in network.reports and network.reports["jb.1"].checkpoint)
    checkpoint = network.reports["jb.1"].checkpoint
    (folder / "runs" / "ja.1" / "go").touch()
    await asyncio.sleep(0.3)
    network.reports.clear()
    async with _agent(network, folder):
        ended = await network.end_of("ja.1")
        assert ended.reason is EndReason.SUCCEEDED
        assert _unpacked(network.artifacts[ended.output]) == {"x": "x\n"}
        assert network.logs["ja.1", 0] == b"once\n"
        await network.until(lambda: "jb.1" in network.reports)
        assert network.reports["jb.1"].checkpoint == checkpoint
        assert network.sent_orders.count("ja.1") == network.sent_orders.count("jb.1") == 1
        await _end_all(network)


async def test_killed_with_no_warning_nothing_is_started_twice(
    network: Network, folder: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    order = _bash("ja.1", f"echo $$ >> {marks}; exec sleep 600")
    for life in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LIFE, network.url, TOKEN, str(folder)
        )
        if not life:
            await network.order(order)
        await network.until(
            lambda: len(network.incarnations) == life + 1  # noqa: B023
            and network.history[-1:] and network.history[-1].state is RunState.RUNNING
        )  # fmt: skip
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    pid = int(marks.read_text())  # one line: started once
    assert Path(f"/proc/{pid}").exists()
    async with _agent(network, folder):
        await _end_all(network)
    assert not Path(f"/proc/{pid}").exists() and network.ended["ja.1"].reason is EndReason.CANCELLED


_LIFE = """
import asyncio, sys
from pathlib import Path
from maillage.control.agent import Agent
from maillage.engines.local.engine import LocalEngine
from maillage.engines.port import PoolCapacity
url, token, folder = sys.argv[1:]
engine = LocalEngine(Path(folder) / "runs", (PoolCapacity("cpu", 1),))
asyncio.run(Agent("paris", url, token, engine, Path(folder)).run())
"""


async def test_a_replica_is_found_and_watched(network: Network, agent: Agent) -> None:
    service = {"endpoint": "chat", "engine": "test", "model_name": "chat"}
    await network.order(plain_order("ja.1", command=("python", "-c", _REPLICA), service=service))
    await network.until(lambda: "ja.1" in network.reports and network.reports["ja.1"].ready)
    address = network.reports["ja.1"].address
    assert address.startswith("http://127.0.0.1:")
    await network.stop_run(StopOrder("ja.1", EndReason.CANCELLED, 1.0))
    assert not (await network.end_of("ja.1")).ready


_REPLICA = """
import http.server, json, os
assert json.loads(os.environ["MAILLAGE_SERVICE"])["endpoint"] == "chat"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
path = os.environ["MAILLAGE_SERVICE_FILE"]
open(path + ".tmp", "w").write(json.dumps({"port": server.server_port}))
os.rename(path + ".tmp", path)
server.serve_forever()
"""


async def test_a_shell_in_a_runs_environment(network: Network, agent: Agent) -> None:
    await network.order(
        _bash("ja.1", "echo here > note; sleep 600", env={"COLOUR": "blue"}, secrets={"KEY": "s3cret"})
    )
    await network.until(
        lambda: "ja.1" in network.reports and network.reports["ja.1"].state is RunState.RUNNING
    )
    await network.ask_shell(ShellOrder("shell1", "ja.1"))
    network.typed.put_nowait(json.dumps({"resize": [33, 111]}))
    network.typed.put_nowait(b"echo $COLOUR-$KEY-$(cat note)-$RANK; stty size; tty; exit 3\n")
    said = b""
    note = None
    async with asyncio.timeout(10):
        while note is None:
            message = await network.terminal.get()
            if isinstance(message, bytes):
                said += message
            else:
                note = json.loads(message)
    assert b"blue-s3cret-here-0" in said and b"33 111" in said and b"/dev/pts" in said
    assert note == {"exit": 3}


async def test_a_shell_ends_with_its_run(network: Network, agent: Agent, folder: Path) -> None:
    await network.order(_bash("ja.1", "until [ -e ../go ]; do sleep 0.05; done"))
    await network.until(
        lambda: "ja.1" in network.reports and network.reports["ja.1"].state is RunState.RUNNING
    )
    await network.ask_shell(ShellOrder("shell1", "ja.1"))
    network.typed.put_nowait(b"echo in-it-$RANK; sleep 600\n")
    said: bytes | str = b""
    async with asyncio.timeout(10):
        while b"in-it-0" not in said:
            said = await network.terminal.get()
        (folder / "runs" / "ja.1" / "go").touch()
        while not isinstance(said, str):
            said = await network.terminal.get()
    assert json.loads(said)["exit"] != 0
    assert (await network.end_of("ja.1")).reason is EndReason.SUCCEEDED


async def test_a_shell_in_a_run_that_is_over_is_told(network: Network, agent: Agent) -> None:
    await network.ask_shell(ShellOrder("shell1", "jx.1"))
    async with asyncio.timeout(10):
        assert b"not running" in await network.terminal.get()
        assert json.loads(await network.terminal.get()) == {"exit": 1}


async def test_secrets_are_never_written(network: Network, agent: Agent, tmp_path: Path) -> None:
    await network.order(_bash("ja.1", "[ ${#KEY} = 6 ] && sleep 600", secrets={"KEY": "s3cret"}))
    await network.until(
        lambda: "ja.1" in network.reports and network.reports["ja.1"].state is RunState.RUNNING
    )
    for path in (tmp_path / "paris").rglob("*"):
        if path.is_file():
            assert b"s3cret" not in path.read_bytes(), path


async def test_outputs_that_are_too_large_fail_the_run_and_say_why(network: Network, agent: Agent) -> None:
    await network.order(_bash("ja.1", "truncate -s 10G $MAILLAGE_OUTPUT_DIR/huge"))
    ended = await network.end_of("ja.1")
    assert ended.reason is EndReason.FAILED and "10.0 GiB" in ended.message and not ended.output


async def test_many_runs_at_once(network: Network, agent: Agent) -> None:
    orders = [plain_order(f"j{n}.1", command=("true",) if n % 10 == 0 else ()) for n in range(300)]
    await network.order(*orders)
    await network.until(lambda: len(network.ended) == 300, within_s=60)
    assert {report.reason for report in network.ended.values()} == {EndReason.SUCCEEDED}
    assert sorted(network.sent_orders) == sorted(set(network.sent_orders))


async def test_an_agent_whose_place_is_taken_ends(network: Network, tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path / "paris" / "runs", POOLS)
    network.refusing = 409
    with pytest.raises(Replaced, match="paris"):
        await Agent("paris", network.url, TOKEN, engine, tmp_path / "paris").run()
    engine.close()


async def test_the_archive_helper_is_true(tmp_path: Path) -> None:
    """What the tests above call unpacked is what `unpack` would write."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("y")
    packed = pack(tmp_path / "a", into=tmp_path)
    with packed.path.open("rb") as archive:
        unpack(archive, tmp_path / "b")
    assert _unpacked(packed.path.read_bytes()) == {"x": (tmp_path / "b" / "x").read_text()}
