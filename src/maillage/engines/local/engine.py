"""The local engine: the six verbs over run folders, a fork server and one supervisor per run."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from maillage.engines.local import limits, output, tree
from maillage.engines.local.environment import command_of, rank_environments, run_environment
from maillage.engines.local.launch import Plan
from maillage.engines.local.records import Identity, RunFolder, lock_holder, lock_is_held
from maillage.engines.local.zygote import Zygote
from maillage.engines.port import PoolCapacity, RunOrder, RunReport
from maillage.workloads.lifecycle import ENDINGS, EndReason, RunState

_LOOK_EVERY_S = 1.0  # how often live runs are checked although nobody rang
_METER_EVERY_S = 5.0
_BORN_WITHIN_S = 10.0
_SWEEP_EVERY_S = 1.0


@dataclass(slots=True)
class _Run:
    """What the engine remembers of a run; all of it can be read again from its folder."""

    folder: RunFolder
    report: RunReport
    launched_s: float = 0.0
    supervisor: Identity | None = None
    metered_s: float = 0.0
    groups: limits.Groups = field(default_factory=limits.Groups)
    shells: list[subprocess.Popen[bytes]] = field(default_factory=list)


class LocalEngine:
    """Real process trees on this machine. Thread-safe.

    `root` holds a folder per run, named by its run id; the engine finds again all that it left
    there. `site` is told to the jobs. Besides the port's verbs it announces news (`fileno`,
    `fresh_output`), keeps leases (`renew_leases`) and opens shells.
    """

    def __init__(
        self,
        root: Path,
        pools: tuple[PoolCapacity, ...],
        *,
        site: str = "local",
        python: str = sys.executable,
        segment_bytes: int = output.SEGMENT_BYTES,
        segments_kept: int = output.SEGMENTS_KEPT,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root.resolve()
        self._pools = pools
        self._site = site
        self._python = python
        self._segments = (segment_bytes, segments_kept)
        self._lock = threading.RLock()
        self._fresh_output: set[str] = set()
        self._looked_s = self._swept_s = 0.0
        self._trash = self.root / ".trash"
        self._trash.mkdir(mode=0o700, exist_ok=True)
        name = f"maillage-{hashlib.sha256(str(self.root).encode()).hexdigest()[:12]}"
        self._hierarchy = limits.detect(name)
        self._zygote = Zygote(self.root / "supervisors.err")
        self._bell = self._hang_bell()
        self._runs: dict[str, _Run] = {}
        for entry in sorted(self.root.iterdir()):
            if entry.is_dir() and entry != self._trash:
                self._adopt(RunFolder(entry))

    def _hang_bell(self) -> int:
        """The pipe on which supervisors tell news. We hold both ends, so that it never ends."""
        path = self.root / "bell"
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def _adopt(self, folder: RunFolder) -> None:
        """A run of an earlier life of this engine, if its supervisor was ever born."""
        run_id = folder.path.name
        if folder.read("run") is None or (lock_holder(folder) is None and not lock_is_held(folder)):
            return  # never launched: the network will order it again
        run = _Run(folder, RunReport(run_id, RunState.STARTING), launched_s=time.monotonic())
        run.groups = limits.find(self._hierarchy, run_id)
        self._runs[run_id] = run
        self._look(run)

    # ---- the verbs ----------------------------------------------------------------------------

    def capacity(self) -> tuple[PoolCapacity, ...]:
        return self._pools

    def start(self, order: RunOrder, directory: Path) -> None:
        """Start a run in its folder, `root/run_id`, where `work/` may be staged already.

        A no-op succeeds at once, without a process.
        """
        with self._lock:
            if order.run_id in self._runs:
                return
            folder = RunFolder(directory)
            now_ms = time.time_ns() // 1_000_000
            if order.is_no_op:
                self._runs[order.run_id] = _Run(folder, _no_op(order, now_ms))
                return
            assert directory.resolve() == self.root / order.run_id, "a run's folder is root/run_id"
            self._adopt(folder)
            if order.run_id not in self._runs:
                self._runs[order.run_id] = self._launch(order, folder)

    def _launch(self, order: RunOrder, folder: RunFolder) -> _Run:
        run = _Run(folder, RunReport(order.run_id, RunState.STARTING), launched_s=time.monotonic())
        try:
            folder.begin()
            script = folder.path / "script.sh"
            if order.script:
                script.write_text(order.script)
            folder.write("run", {"run_id": order.run_id, "workers": order.workers})
            run.groups = limits.find(self._hierarchy, order.run_id)
            self._zygote.launch(self._plan(order, folder, str(script) if order.script else ""))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = EndReason.DISK_FULL if full else EndReason.RETURNED
            what = (
                "the site's disk is full" if full else f"the site could not start the run: {error.strerror}"
            )
            run.report = _ended(run.report, reason, what)
        return run

    def _plan(self, order: RunOrder, folder: RunFolder, script: str) -> Plan:
        return Plan(
            run_id=order.run_id,
            folder=str(folder.path),
            argv=() if script else command_of(order, self._python),
            script=script,
            env=run_environment(order, folder, self._site, self._python),
            ranks=rank_environments(order, _free_port()),
            grace_s=order.grace_s,
            time_limit_s=order.time_limit_s,
            lease=str(self.root / "lease"),
            site_stops_after_s=order.site_stops_after_s,
            cpus=order.cpus_per_worker * order.workers,
            memory_mib_per_worker=order.memory_mib_per_worker,
            hierarchy=self._hierarchy,
            bell=str(self.root / "bell"),
            segment_bytes=self._segments[0],
            segments_kept=self._segments[1],
        )

    def stop(self, run_id: str, reason: EndReason, grace_s: float) -> None:
        """Write the wish down, then wake the supervisor: whoever dies in between, it is heeded."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None or run.report.state.ended:
                return
            wish = {"reason": reason.value, "grace_s": grace_s}
            if run.folder.read("stop") != wish:
                run.folder.write("stop", wish)
            holder = lock_holder(run.folder)
            if holder is not None:
                tree.send(holder, signal.SIGUSR1)

    def observe(self) -> tuple[RunReport, ...]:
        with self._lock:
            rung = self._hear()
            now_s = time.monotonic()
            everybody = now_s - self._looked_s >= _LOOK_EVERY_S
            if everybody:
                self._looked_s = now_s
                if any(self._trash.iterdir()):
                    self._sweep(now_s)
            for run_id in list(self._runs) if everybody else rung:
                run = self._runs.get(run_id)
                if run is not None and not run.report.state.ended:
                    self._look(run)
                    if run.report.state.ended:
                        _end_shells(run)
                    if now_s - run.metered_s >= _METER_EVERY_S:
                        self._meter(run, now_s)
            return tuple(run.report for run in self._runs.values())

    def logs(self, run_id: str, worker: int, offset: int, limit: int) -> tuple[int, bytes]:
        return output.read(self.root / run_id / "logs", worker, offset, limit)

    def release(self, run_id: str) -> None:
        """Forget an ended run and delete its folder."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return
            assert run.report.state.ended, f"{run_id} lives: stop it first"
            del self._runs[run_id]
            self._fresh_output.discard(run_id)
        with contextlib.suppress(FileNotFoundError):
            run.folder.path.rename(self._trash / f"{run_id}.{time.monotonic_ns()}")
        self._sweep(time.monotonic())

    def _sweep(self, now_s: float) -> None:
        """Have the trash emptied by another process, at most once in a while: it is much work."""
        if now_s - self._swept_s >= _SWEEP_EVERY_S:
            self._swept_s = now_s
            with contextlib.suppress(OSError):
                self._zygote.empty(self._trash)

    # ---- news, leases, shells -----------------------------------------------------------------

    def fileno(self) -> int:
        """Readable when there is news; `observe` and `fresh_output` take it in."""
        return self._bell

    def fresh_output(self) -> frozenset[str]:
        """Runs with output that was not there at the last call, as far as `observe` has heard."""
        with self._lock:
            fresh = frozenset(self._fresh_output)
            self._fresh_output.clear()
            return fresh

    def renew_leases(self, contact_s: float) -> None:
        """The network was reached by a call sent at `contact_s` (time.monotonic)."""
        temporary = self.root / "lease.tmp"
        temporary.write_text(f"{contact_s:.3f}")
        temporary.replace(self.root / "lease")

    def open_shell(self, run_id: str, worker: int, terminal: int) -> subprocess.Popen[bytes] | None:
        """bash on a terminal's descriptor, in the environment and the limits of a run's worker.

        None where the run is unknown here or its worker is not running.
        """
        with self._lock:
            run = self._runs.get(run_id)
            alive = run.folder.read("alive") if run is not None and not run.report.state.ended else None
        if run is None or alive is None or worker >= len(alive["workers"]):
            return None
        env = tree.environment_of(alive["workers"][worker])
        if not env:
            return None
        helper = Path(__file__).with_name("terminal.py")
        arguments = [sys.executable, "-I", "-S", str(helper), str(run.folder.work), *run.groups.folders]
        shell = subprocess.Popen(
            arguments, stdin=terminal, stdout=terminal, stderr=terminal, env=env, start_new_session=True
        )
        with self._lock:
            run.shells.append(shell)
            if run.report.state.ended:
                _end_shells(run)
        return shell

    def close(self) -> None:
        """Let go. Runs live on, and the next engine on this root finds them."""
        self._zygote.close()
        limits.leave(self._hierarchy)
        with self._lock:
            os.close(self._bell)

    # ---- looking ------------------------------------------------------------------------------

    def _hear(self) -> list[str]:
        """Run ids whose state has news; those with fresh output are put aside."""
        heard = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                heard += os.read(self._bell, 65536)
        states: dict[str, None] = {}
        for line in heard.decode().splitlines():
            what, _, run_id = line.partition(" ")
            if what == "state":
                states[run_id] = None
            self._fresh_output.add(run_id)
        return list(states)

    def _look(self, run: _Run) -> None:
        """Bring the report up to what the folder says."""
        ended = run.folder.read("exit")
        if ended is not None:
            run.report = _from_exit(run.report, ended)
            return
        if run.report.state is not RunState.RUNNING and (alive := run.folder.read("alive")) is not None:
            run.report = replace(
                run.report,
                state=RunState.RUNNING,
                started_at_ms=alive["started_at_ms"],
                enforced=tuple(alive["enforced"]),
            )
        if run.supervisor is None:
            run.supervisor = lock_holder(run.folder)
        if run.supervisor is None:
            born = lock_is_held(run.folder) or time.monotonic() - run.launched_s < _BORN_WITHIN_S
            if not born:
                run.report = _ended(run.report, EndReason.RETURNED, "its supervisor could not start")
        elif not tree.is_alive(run.supervisor) and run.folder.read("exit") is None:
            self._bury(run, run.supervisor)

    def _bury(self, run: _Run, supervisor: Identity) -> None:
        """The supervisor was killed: end whatever it left behind, and write the end in its place."""
        if supervisor.boot == tree.boot_id():
            run.groups.kill()
            for _ in range(50):
                left = tree.with_environment(f"MAILLAGE_RUN_ID={run.report.run_id}")
                left += run.groups.members()
                if not left:
                    break
                tree.signal_each(left, signal.SIGKILL)
                time.sleep(0.01)
            message = "its supervisor was killed; what it had started was ended"
        else:
            message = "the machine was restarted"
        run.groups.remove()
        run.report = _ended(run.report, EndReason.NODE_LOST, message)
        with contextlib.suppress(OSError):  # on a full disk it is found out again after a restart
            run.folder.write_exit(
                {
                    "reason": EndReason.NODE_LOST.value,
                    "message": message,
                    "started_at_ms": run.report.started_at_ms,
                    "ended_at_ms": run.report.ended_at_ms,
                    "exit_codes": [],
                    "enforced": list(run.report.enforced),
                    "cpu_s": run.report.metered_cpu_s,
                }
            )

    def _meter(self, run: _Run, now_s: float) -> None:
        run.metered_s = now_s
        if run.report.state is RunState.RUNNING and run.supervisor is not None:
            used_s = run.groups.cpu_s() or tree.cpu_seconds(tree.descendants(run.supervisor.pid))
            run.report = replace(run.report, metered_cpu_s=round(max(run.report.metered_cpu_s, used_s), 3))


def _end_shells(run: _Run) -> None:
    """A shell lives no longer than the run it was opened in."""
    for shell in run.shells:
        if shell.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)


def _no_op(order: RunOrder, now_ms: int) -> RunReport:
    return RunReport(
        order.run_id,
        RunState.EXITED,
        EndReason.SUCCEEDED,
        started_at_ms=now_ms,
        ended_at_ms=now_ms,
        exit_codes=(0,) * order.workers,
    )


def _ended(report: RunReport, reason: EndReason, message: str) -> RunReport:
    now_ms = time.time_ns() // 1_000_000
    return replace(report, state=ENDINGS[reason].run, reason=reason, message=message, ended_at_ms=now_ms)


def _from_exit(report: RunReport, record: dict[str, Any]) -> RunReport:
    reason = EndReason(record["reason"])
    return replace(
        report,
        state=ENDINGS[reason].run,
        reason=reason,
        message=record["message"],
        started_at_ms=record["started_at_ms"],
        ended_at_ms=record["ended_at_ms"],
        exit_codes=tuple(record["exit_codes"]),
        enforced=tuple(record["enforced"]),
        metered_cpu_s=record["cpu_s"],
    )


def _free_port() -> int:
    """A port nobody listens on at this moment (a job may still lose a race for it, as under torchrun)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
