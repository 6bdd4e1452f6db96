"""One run's own small process: starts the workers, keeps their output, ends the whole tree, tells why.

It outlives the engine, the agent and `maillage up`. It decides nothing about the network: it obeys
the run's own limits, a wish to stop that lies in the run's folder, and the lease.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from typing import Any

from maillage.engines.local import limits, tree
from maillage.engines.local.launch import CannotStart, Plan, find_command, start_worker
from maillage.engines.local.output import Capture
from maillage.engines.local.records import RunFolder, sign_lock, take_lock
from maillage.engines.local.verdict import Failure, Verdict, judge, lost_contact, stopped, timed_out
from maillage.workloads.lifecycle import EndReason

_WAKING = (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM)
_BELL_EVERY_S = 0.2  # how often news of output may be told
_READ_BYTES = 65536
_FOLDER_EVERY_S = 10.0  # how often a run without a lease looks whether its folder is still there


def supervise(plan: Plan, folder: RunFolder) -> None:
    """Run a plan to its end, unless another process did or does. Called in a process of its own."""
    lock = take_lock(folder)
    if lock is not None:
        Supervisor(plan, folder, lock).run()


class Supervisor:
    """Times are of the monotonic clock: one that is set never ends a run."""

    def __init__(self, plan: Plan, folder: RunFolder, lock: int) -> None:
        self.plan = plan
        self.folder = folder
        self.lock = lock
        self.groups = limits.Groups()
        self.pids: dict[int, int] = {}  # pid -> rank, of workers that live
        self.exit_codes = [-1] * len(plan.ranks)
        self.captures: dict[int, Capture] = {}  # by the pipe's reading end
        self.disk_was_full = False
        self.lost_output: dict[int, int] = {}  # worker -> bytes kept when the disk first took no more
        self.started_at_ms = 0
        self.verdict: Verdict | None = None  # why it is being ended; None while it runs
        self.kill_at_s = 0.0
        self.childless = True
        self.selector = selectors.DefaultSelector()
        self.oom_kills_before = limits.machine_oom_kills()
        now_s = time.monotonic()
        self.ends_at_s = now_s + plan.time_limit_s if plan.time_limit_s > 0 else float("inf")
        patience_s = plan.site_stops_after_s
        self.check_every_s = min(1.0, patience_s / 4) if patience_s > 0 else _FOLDER_EVERY_S
        self.contact_s = self.checked_s = now_s
        self.bell_rung_s = 0.0
        self.bell_due_s = float("inf")

    def run(self) -> None:
        tree.become_subreaper()
        wake = self._hear_signals()
        myself = tree.identify(os.getpid())
        assert myself is not None
        sign_lock(self.lock, myself)
        self._heed_wish()  # it may have come before we were born
        if self.verdict is None:
            self._launch()
        while not self._over():
            for key, _ in self.selector.select(self._patience_s()):
                if key.fileobj == wake:
                    self._on_signals(os.read(wake, 512))
                elif key.fd in self.captures:  # not closed by what came before it in this round
                    self._on_output(key.fd)
            self._on_time(time.monotonic())
        self._end_tree()
        self._finish()

    def _hear_signals(self) -> int:
        wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in _WAKING:
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        self.selector.register(wake, selectors.EVENT_READ)
        return wake

    def _launch(self) -> None:
        """All workers or none."""
        plan = self.plan
        workers = len(plan.ranks)
        try:
            self.folder.make()
            self.folder.reserve_exit(workers)
            memory_mib = plan.memory_mib_per_worker * workers
            self.groups = limits.make(plan.hierarchy, plan.run_id, plan.cpus, memory_mib)
            argv = plan.argv or ("bash", plan.script)
            path = plan.env.get("PATH", os.defpath)
            command = find_command(argv[0], path, str(self.folder.work))
            for rank in range(workers):
                reading, writing = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(reading, False)
                self.captures[reading] = Capture(
                    self.folder.logs, rank, plan.segment_bytes, plan.segments_kept
                )
                self.selector.register(reading, selectors.EVENT_READ)
                pid = start_worker(plan, rank, command, argv, writing, self.groups)
                os.close(writing)
                self.pids[pid] = rank
                self.childless = False
            self._tell_alive()
        except CannotStart as error:
            self.exit_codes = [127] * workers
            self._begin_ending(Verdict(EndReason.COMMAND_NOT_FOUND, str(error)), grace_s=0.0)
        except OSError as error:
            self._begin_ending(Failure(error=error).verdict(), grace_s=0.0)

    def _tell_alive(self) -> None:
        self.started_at_ms = time.time_ns() // 1_000_000
        self.folder.write(
            "alive",
            {
                "started_at_ms": self.started_at_ms,
                "workers": [found.pid if (found := tree.identify(pid)) else 0 for pid in self.pids],
                "enforced": self.groups.enforced,
            },
        )
        self._ring("state")

    # ---- what happens -------------------------------------------------------------------------

    def _on_signals(self, numbers: bytes) -> None:
        if signal.SIGCHLD in numbers:
            self._reap()
        if signal.SIGUSR1 in numbers:
            self._heed_wish()
        if signal.SIGTERM in numbers and self.verdict is None:
            self._begin_ending(
                Verdict(EndReason.NODE_LOST, "the machine is shutting down"), self.plan.grace_s
            )

    def _heed_wish(self) -> None:
        wish = self.folder.read("stop")
        if wish is not None:
            self._begin_ending(stopped(EndReason(wish["reason"])), float(wish["grace_s"]))

    def _reap(self) -> None:
        """Collect all that ended, adopted orphans too; a worker's failure ends the gang."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if pid == 0:
                return
            rank = self.pids.pop(pid, None)
            if rank is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            self.exit_codes[rank] = code if code >= 0 else 128 - code
            if code != 0 and self.verdict is None:
                self._begin_ending(self._blame(rank, code), self.plan.grace_s)

    def _blame(self, rank: int, code: int) -> Verdict:
        for reading in list(self.captures):
            self._on_output(reading)
        return judge(
            rank,
            code,
            oom_kills=self.groups.oom_kills(),
            machine_oom_kills=limits.machine_oom_kills() - self.oom_kills_before,
            memory_mib=self.plan.memory_mib_per_worker * len(self.plan.ranks),
            disk_was_full=self.disk_was_full,
            folder=self.folder,
        )

    def _on_output(self, reading: int) -> None:
        """One helping of a worker's output; the end of the pipe closes it."""
        try:
            data = os.read(reading, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close(reading)
            return
        try:
            self.captures[reading].write(data)
        except OSError:  # a full disk: the job goes on, and its message says what was lost
            self.disk_was_full = True
            capture = self.captures[reading]
            self.lost_output.setdefault(capture.worker, capture.total_bytes)
        now_s = time.monotonic()
        self.bell_due_s = min(self.bell_due_s, max(now_s, self.bell_rung_s + _BELL_EVERY_S))

    def _close(self, reading: int) -> None:
        self.selector.unregister(reading)
        os.close(reading)
        self.captures.pop(reading).close()

    # ---- time ---------------------------------------------------------------------------------

    def _patience_s(self) -> float:
        """How long nothing is due."""
        due_s = self.bell_due_s
        if self.verdict is not None:
            due_s = min(due_s, self.kill_at_s)
        else:
            due_s = min(due_s, self.ends_at_s, self.checked_s + self.check_every_s)
        return max(0.0, due_s - time.monotonic())

    def _on_time(self, now_s: float) -> None:
        if now_s >= self.bell_due_s:
            self.bell_rung_s, self.bell_due_s = now_s, float("inf")
            self._ring("output")
        if self.verdict is not None:
            return
        if now_s >= self.ends_at_s:
            self._begin_ending(timed_out(self.plan.time_limit_s), self.plan.grace_s)
        elif now_s >= self.checked_s + self.check_every_s:
            away_s = now_s - self.checked_s
            self.checked_s = now_s
            if not self.folder.state.exists():
                self._begin_ending(Verdict(EndReason.NODE_LOST, "its folder was deleted"), self.plan.grace_s)
            elif self.plan.site_stops_after_s > 0:
                self._check_lease(now_s, away_s)

    def _check_lease(self, now_s: float, away_s: float) -> None:
        """The lease names the last contact on the monotonic clock, which all processes share."""
        if away_s > 5 * self.check_every_s:
            self.contact_s = now_s  # we were stopped ourselves, and so was the agent: give it its time again
        with contextlib.suppress(OSError, ValueError), open(self.plan.lease) as file:  # noqa: PTH123
            contact_s = float(file.read(64))
            if contact_s <= now_s:  # else it is of an earlier boot, or nonsense
                self.contact_s = max(self.contact_s, contact_s)
        if now_s - self.contact_s >= self.plan.site_stops_after_s:
            self._begin_ending(lost_contact(self.plan.site_stops_after_s), self.plan.grace_s)

    # ---- the end ------------------------------------------------------------------------------

    def _begin_ending(self, verdict: Verdict, grace_s: float) -> None:
        """SIGTERM to the whole tree, once; a later wish may change why, and shorten the grace."""
        kill_at_s = time.monotonic() + max(0.0, grace_s)
        if self.verdict is None:
            self.verdict, self.kill_at_s = verdict, kill_at_s
            tree.signal_each(tree.descendants(os.getpid()), signal.SIGTERM)
        else:
            self.kill_at_s = min(self.kill_at_s, kill_at_s)
            if verdict.ordered and self.verdict.ordered:
                self.verdict = verdict

    def _over(self) -> bool:
        if self.verdict is None:
            return not self.pids
        return self.childless or time.monotonic() >= self.kill_at_s

    def _end_tree(self) -> None:
        """Nothing of the run lives after this. A process the kernel cannot end yet is waited for."""
        pause_s = 0.001
        while not self.childless:
            if not self.groups.kill():
                tree.freeze_and_kill(os.getpid())
            time.sleep(pause_s)
            pause_s = min(0.5, pause_s * 2)
            self._reap()
            if pause_s > 0.01:
                tree.freeze_and_kill(os.getpid())  # whoever left the group
        if self.groups.members():
            self.groups.kill()  # a person's shell is in the group and no child of ours

    def _finish(self) -> None:
        for reading in list(self.captures):
            while reading in self.captures:
                before = self.captures[reading].total_bytes
                self._on_output(reading)
                if reading in self.captures and self.captures[reading].total_bytes == before:
                    self._close(reading)  # held open by somebody who is not of this run
        with contextlib.suppress(FileNotFoundError):  # its folder was deleted: nobody can ask any more
            self.folder.write_exit(self._exit_record())
        self._ring("state")
        self.groups.remove()

    def _exit_record(self) -> dict[str, Any]:
        verdict = self.verdict or Verdict(EndReason.SUCCEEDED, "")
        usage = os.times()
        return {
            "reason": verdict.reason.value,
            "message": "; ".join(filter(None, (verdict.message, self._said_of_lost_output()))),
            "started_at_ms": self.started_at_ms,
            "ended_at_ms": time.time_ns() // 1_000_000,
            "exit_codes": self.exit_codes,
            "enforced": self.groups.enforced,
            "cpu_s": round(max(self.groups.cpu_s(), usage.children_user + usage.children_system), 3),
        }

    def _said_of_lost_output(self) -> str:
        if not self.lost_output:
            return ""
        worker, kept_bytes = min(self.lost_output.items())
        what = f"worker {worker}'s output after byte {kept_bytes} could not be kept: the disk is full"
        others = len(self.lost_output) - 1
        return f"{what} (nor that of {others} more)" if others else what

    def _ring(self, what: str) -> None:
        """Tell the engine, if one listens, that there is something to look at."""
        line = f"{what} {self.plan.run_id}\n".encode()
        try:
            bell = os.open(self.plan.bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # nobody listens: the next engine reads the folder
            return
        try:
            for _ in range(100 if what == "state" else 1):
                with contextlib.suppress(BlockingIOError):
                    os.write(bell, line)
                    return
                time.sleep(0.01)
        except BrokenPipeError:
            pass  # the engine went away this moment
        finally:
            os.close(bell)
