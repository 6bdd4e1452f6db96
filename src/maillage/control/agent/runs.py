"""The runs an agent holds, each on its way: staging, with the engine, keeping what it made, ended."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from maillage.control.agent.health import watch_service
from maillage.control.agent.held import Held, Phase, write_order
from maillage.control.agent.keeping import Keeper
from maillage.control.agent.line import Backoff, Line, LineDown, Refused
from maillage.control.agent.logs import LogShipper
from maillage.control.agent.staging import CannotStage, Stager
from maillage.control.archives import disk_is_full
from maillage.control.protocol import StopOrder
from maillage.engines.port import Engine, RunOrder, RunReport
from maillage.errors import UserError
from maillage.workloads.lifecycle import ENDINGS, EndReason, RunState

_NOT_STARTED = "stopped before it was started"
_OVER_GRACE_S = 10.0  # for a run that is over upstream and still lives here

log = structlog.get_logger("maillage.agent")


class Runs:
    """`tell` says that a report has changed."""

    def __init__(
        self, engine: Engine, line: Line, logs: LogShipper, folder: Path, tell: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._logs = logs
        self._folder = folder / "runs"
        self._tell = tell
        self._stager = Stager(line, folder / "cache")
        self._keeper = Keeper(line, folder / "spool")
        self._held: dict[str, Held] = {}
        self._queue: asyncio.Queue[Held] = asyncio.Queue()
        self._loose: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def tasks(self) -> list[asyncio.Task[None]]:
        return [*self._loose, *(task for held in self._held.values() for task in held.tasks)]

    def have_news(self) -> bool:
        return any(held.has_news for held in self._held.values())

    def _spawn(self, held: Held, work: Coroutine[Any, Any, None]) -> None:
        """Work for one run; a failure of ours is told, and ends nothing else."""
        task = asyncio.create_task(work)
        held.tasks.add(task)
        task.add_done_callback(lambda done: self._done(held, done))

    def _done(self, held: Held, task: asyncio.Task[None]) -> None:
        held.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("agent's work for a run failed", run=held.run_id, exc_info=error)

    # ---- in -----------------------------------------------------------------------------------

    def adopt(self, held: Held, report: RunReport) -> None:
        """A run the engine still has from before."""
        self._held[held.run_id] = held
        self._follow(held)
        self._observed(held, report)

    def sweep(self, known: frozenset[str]) -> None:
        """Delete folders of runs that never came to the engine."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for entry in self._folder.iterdir():
            if entry.is_dir() and entry.name not in known and not entry.name.startswith("."):
                shutil.rmtree(entry, ignore_errors=True)

    def accept(self, order: RunOrder) -> None:
        """A run to have. One that is here already is left as it is."""
        if order.run_id in self._held:
            return
        held = Held(order, self._folder / order.run_id, report=RunReport(order.run_id, RunState.ACCEPTED))
        self._held[order.run_id] = held
        if held.needs_files:
            held.report = replace(held.report, state=RunState.STARTING)
            self._spawn(held, self._stage(held))
            self._tell()
        else:
            self._queue.put_nowait(held)

    async def _stage(self, held: Held) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._stager.stage(held.order, held.folder)
            except LineDown:
                await backoff.wait()
                continue
            except CannotStage as error:
                self._end_here(held, error.reason, str(error))
            else:
                self._queue.put_nowait(held)
            return

    async def start_queued(self) -> None:
        """Hand runs to the engine, as many at once as are waiting."""
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for held in batch:
                if held.phase is Phase.STAGING and held.stop is not None:
                    self._end_here(held, held.stop.reason, _NOT_STARTED)
            batch = [held for held in batch if held.phase is Phase.STAGING and not held.over_upstream]
            started, reports = await asyncio.to_thread(self._start, batch)
            for held, error in started:
                if error is None:
                    held.phase = Phase.ENGINE
                    self._follow(held)
                else:
                    reason = EndReason.DISK_FULL if disk_is_full(error) else EndReason.RETURNED
                    self._end_here(held, reason, f"the site could not start the run: {error.strerror}")
            self.observed(reports, frozenset())
            for held, _ in started:
                if held.stop is not None or held.over_upstream:
                    self._ask_engine_to_stop(held)

    def _start(self, batch: list[Held]) -> tuple[list[tuple[Held, OSError | None]], tuple[RunReport, ...]]:
        started: list[tuple[Held, OSError | None]] = []
        for held in batch:
            try:
                if not held.is_no_op:
                    held.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                    write_order(held.folder, held.order)
                self._engine.start(held.order, held.folder)
                started.append((held, None))
            except OSError as error:
                started.append((held, error))
        return started, self._engine.observe()

    def _follow(self, held: Held) -> None:
        """What goes on beside a run while the engine has it."""
        if held.order.checkpoint_interval_s > 0 and not held.is_no_op:
            self._spawn(held, self._checkpoints(held))
        if held.order.service:
            self._spawn(held, watch_service(held, self._tell))

    async def _checkpoints(self, held: Held) -> None:
        while held.phase is Phase.ENGINE:
            await asyncio.sleep(held.order.checkpoint_interval_s)
            try:
                if held.phase is Phase.ENGINE and await self._keeper.checkpoint(held):
                    self._tell()
            except LineDown:
                continue  # the next one is newer anyway
            except (Refused, UserError, OSError) as error:
                held.report = replace(held.report, message=f"checkpoint not kept: {error}")
                self._tell()

    # ---- from the engine ----------------------------------------------------------------------

    def observed(self, reports: tuple[RunReport, ...], fresh: frozenset[str]) -> None:
        """The engine's reports, and which runs have fresh output."""
        for report in reports:
            held = self._held.get(report.run_id)
            if held is not None:
                self._observed(held, report)
        for run_id in fresh:
            held = self._held.get(run_id)
            if held is not None and held.phase is Phase.ENGINE:
                self._logs.note(held)

    def _observed(self, held: Held, report: RunReport) -> None:
        if held.phase is not Phase.ENGINE:
            return
        if report.state.ended:
            held.phase = Phase.KEEPING
            if held.is_no_op:
                self._logs.finish(held)
                self._ended(held, report)
            else:
                self._spawn(held, self._keep(held, report))
            return
        ours = {
            name: getattr(held.report, name)
            for name in ("checkpoint", "checkpoint_at_ms", "address", "ready")
        }
        merged = replace(report, message=report.message or held.report.message, **ours)
        if merged != held.report:
            held.report = merged
            if held.has_news:
                self._tell()

    async def _keep(self, held: Held, ended: RunReport) -> None:
        """Take home what the run made; only then is its end told, so that the end is complete."""
        if not held.over_upstream:
            logs = self._logs.finish(held)
            ended = await self._take_home(held, ended)
            await logs
        self._ended(held, ended)

    async def _take_home(self, held: Held, ended: RunReport) -> RunReport:
        backoff = Backoff()
        while not held.over_upstream:
            try:
                if not held.order.service:
                    await self._keeper.checkpoint(held)
                    ended = replace(ended, output=await self._keeper.outputs(held))
                return ended
            except LineDown:
                await backoff.wait()
            except (Refused, UserError, OSError) as error:
                return _not_kept(ended, str(error))
        return ended

    def _ended(self, held: Held, report: RunReport) -> None:
        kept = held.report
        held.report = replace(report, checkpoint=kept.checkpoint, checkpoint_at_ms=kept.checkpoint_at_ms)
        held.phase = Phase.ENDED
        if held.over_upstream:
            self._release(held)
        else:
            self._tell()

    def _end_here(self, held: Held, reason: EndReason, message: str) -> None:
        """A run that never came to the engine is over."""
        now_ms = time.time_ns() // 1_000_000
        report = RunReport(held.run_id, ENDINGS[reason].run, reason, message, ended_at_ms=now_ms)
        self._ended(held, report)

    # ---- out ----------------------------------------------------------------------------------

    def stop(self, stop: StopOrder) -> None:
        held = self._held.get(stop.run_id)
        if held is None or held.stop == stop:
            return
        held.stop = stop
        if held.phase is Phase.STAGING:
            self._give_up_staging(held, stop.reason)
        elif held.phase is Phase.ENGINE:
            self._ask_engine_to_stop(held)

    def _give_up_staging(self, held: Held, reason: EndReason) -> None:
        """Stop bringing files. What the starter has in hand by now is stopped once it has started."""
        if held.tasks:
            for task in held.tasks:
                task.cancel()
            self._end_here(held, reason, _NOT_STARTED)

    def _ask_engine_to_stop(self, held: Held) -> None:
        stop = held.stop or StopOrder(held.run_id, EndReason.SITE_LOST, _OVER_GRACE_S)
        self._spawn(held, asyncio.to_thread(self._engine.stop, held.run_id, stop.reason, stop.grace_s))

    def let_go(self, run_ids: set[str]) -> None:
        """Nobody upstream wants these any more: forget what has ended, end what has not."""
        for run_id in run_ids:
            held = self._held.get(run_id)
            if held is None or held.over_upstream:
                continue
            held.over_upstream = True
            if held.phase is Phase.STAGING:
                self._give_up_staging(held, EndReason.SITE_LOST)
            elif held.phase is Phase.ENGINE:
                self._ask_engine_to_stop(held)
            elif held.phase is Phase.KEEPING:
                self._logs.forget(held)
            else:
                self._release(held)

    def _release(self, held: Held) -> None:
        self._held.pop(held.run_id, None)
        if not held.is_no_op:
            self._logs.forget(held)
        task = asyncio.create_task(asyncio.to_thread(self._forget, held))
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    def _forget(self, held: Held) -> None:
        self._engine.release(held.run_id)
        if not held.is_no_op:
            shutil.rmtree(held.folder, ignore_errors=True)


def _not_kept(ended: RunReport, why: str) -> RunReport:
    """A run whose outputs cannot be kept has not done what it was asked to."""
    message = "; ".join(part for part in (ended.message, f"outputs not kept: {why}") if part)
    reason = EndReason.FAILED if ended.reason is EndReason.SUCCEEDED else ended.reason
    return replace(ended, reason=reason, message=message)
