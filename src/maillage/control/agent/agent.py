"""One site's agent: tells what the engine has, does what the network wants, keeps nothing that matters.

Three things go on at once: a call that the network holds until it wants something (`_listen`), calls
made at once when there is news here (`_speak`), and an eye on the engine (`_watch`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from pathlib import Path

import structlog

from maillage.control.agent.held import Held, Phase, read_kept, read_order
from maillage.control.agent.line import Backoff, Line, LineDown, Refused
from maillage.control.agent.logs import LogShipper
from maillage.control.agent.runs import Runs
from maillage.control.agent.shell import serve_shell
from maillage.control.protocol import ShellOrder, SyncRequest, SyncResponse
from maillage.engines.port import Announces, Engine, Leases, RunReport
from maillage.workloads.lifecycle import RunState

_HOLD_S = 10.0  # how long the network may hold a call in which nothing is new
_SPEAK_EVERY_S = 0.02  # calls with news are this far apart, so that news gathers under load
_LOOK_EVERY_S = 1.0  # how often the engine is looked at although it said nothing
_ALL_EVERY_S = 5.0  # how often everything is told, however much it is
_MANY = 100
_LEASE_EVERY_S = 0.5

log = structlog.get_logger("maillage.agent")


class Replaced(Exception):
    """Another agent speaks for this site now."""


class Agent:
    """`folder` is the agent's own; runs live in `folder/runs` (the local engine's root)."""

    def __init__(
        self, site: str, url: str, token: str, engine: Engine, folder: Path, *, engine_kind: str = "local"
    ) -> None:
        self.site = site
        self._engine = engine
        self._engine_kind = engine_kind
        self._folder = folder
        self._line = Line(site, url, token)
        self._incarnation = uuid.uuid4().hex
        self._seq = 0
        self._news = asyncio.Event()
        self._rung = asyncio.Event()
        self._logs = LogShipper(self._line, engine)
        self._runs = Runs(engine, self._line, self._logs, folder, self._tell)
        self._answered_seq = -1
        self._version = -1
        self._contact_s = 0.0
        self._all_told_s = 0.0
        self._lease_renewed_s = 0.0
        self._shells: dict[str, asyncio.Task[None]] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the network has answered of late."""
        return time.monotonic() - self._contact_s < 3 * _HOLD_S and self._contact_s > 0

    def cut(self, for_s: float) -> None:
        """A drill: be silent for so long, as if the line were cut. Jobs run on.

        0 s lifts the cut before at once.
        """
        log.warning("line cut" if for_s > 0 else "line mended", site=self.site, for_s=for_s)
        self._line.cut(for_s)

    async def run(self) -> None:
        """Serve the site until cancelled. Raises Replaced when another agent has taken the place."""
        await self._find_again()
        try:
            async with self._line, asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._speak())
                group.create_task(self._watch())
                group.create_task(self._logs.run())
                group.create_task(self._runs.start_queued())
        except BaseExceptionGroup as trouble:
            replaced = trouble.subgroup(Replaced)
            if replaced is None:
                raise
            raise Replaced(f"another agent speaks for site {self.site} now") from None
        finally:
            for task in [*self._runs.tasks(), *self._shells.values()]:
                task.cancel()
            await asyncio.gather(*self._runs.tasks(), *self._shells.values(), return_exceptions=True)

    def _tell(self) -> None:
        self._news.set()

    async def _find_again(self) -> None:
        """What an earlier life of the agent left running, and what it left lying about."""
        reports = await asyncio.to_thread(self._engine.observe)
        runs_folder = self._folder / "runs"
        for report in reports:
            folder = runs_folder / report.run_id
            order = await asyncio.to_thread(read_order, folder)
            if order is not None:
                self._runs.adopt(Held(order, folder, Phase.ENGINE, read_kept(folder, _alive(report))), report)
        await asyncio.to_thread(self._runs.sweep, frozenset(report.run_id for report in reports))

    # ---- the line -----------------------------------------------------------------------------

    async def _listen(self) -> None:
        """One call is always there for the network to answer."""
        backoff = Backoff()
        while True:
            try:
                answer = await self._sync(self._hold_s())
                backoff.reset()
                if answer.next_s > 0:
                    await asyncio.sleep(answer.next_s)
            except (LineDown, Refused) as trouble:
                self._heed(trouble)
                self._all_told_s = 0.0
                await backoff.wait()

    async def _speak(self) -> None:
        """News goes at once, beside the call that is held."""
        backoff = Backoff()
        while True:
            await self._news.wait()
            self._news.clear()
            if not self._runs.have_news():
                continue
            try:
                await self._sync(0.0)
                backoff.reset()
                await asyncio.sleep(_SPEAK_EVERY_S)
            except (LineDown, Refused) as trouble:
                self._heed(trouble)
                self._news.set()
                await backoff.wait()

    def _heed(self, trouble: LineDown | Refused) -> None:
        if isinstance(trouble, Refused):
            if trouble.status == 409:
                raise Replaced(str(trouble))
            log.error("the network refuses this agent", site=self.site, why=str(trouble))
        else:
            log.info("no line to the network", site=self.site, why=str(trouble))

    def _hold_s(self) -> float:
        """Short enough that runs which stop by themselves when cut off see a fresh contact in time."""
        patience_s = [
            held.order.site_stops_after_s for held in self._runs if held.order.site_stops_after_s > 0
        ]
        return max(0.2, min([_HOLD_S, *(one_s / 4 for one_s in patience_s)]))

    async def _sync(self, wait_s: float) -> SyncResponse:
        self._seq += 1
        sent_s = time.monotonic()
        everything = len(self._runs) <= _MANY or sent_s - self._all_told_s > _ALL_EVERY_S
        told = {held: held.report for held in self._runs if everything or held.has_news}
        request = SyncRequest(
            incarnation=self._incarnation,
            seq=self._seq,
            engine=self._engine_kind,
            capacity=self._engine.capacity(),
            reports=tuple(told.values()),
            known=tuple(held.run_id for held in self._runs),
            version_seen=self._version,
            wait_s=wait_s,
        )
        answer = await self._line.sync(request)
        await self._keep_lease(sent_s)
        if everything:
            self._all_told_s = sent_s
        self._take(request, answer, told)
        return answer

    async def _keep_lease(self, sent_s: float) -> None:
        """A contact is as old as the call that was answered, not as the answer."""
        self._contact_s = max(self._contact_s, sent_s)
        if isinstance(self._engine, Leases) and self._contact_s - self._lease_renewed_s > _LEASE_EVERY_S:
            self._lease_renewed_s = self._contact_s
            with contextlib.suppress(OSError):  # a full disk: the next one may have room
                await asyncio.to_thread(self._engine.renew_leases, self._contact_s)

    def _take(self, request: SyncRequest, answer: SyncResponse, told: dict[Held, RunReport]) -> None:
        """Do what the answer wants, unless a later call has had a newer one already."""
        for held, report in told.items():
            held.told = report
        if request.seq < self._answered_seq and answer.version < self._version:
            return
        self._answered_seq = max(self._answered_seq, request.seq)
        self._version = answer.version
        for order in answer.orders:
            self._runs.accept(order)
        for stop in answer.stop:
            self._runs.stop(stop)
        wanted = {*answer.desired, *(stop.run_id for stop in answer.stop)}
        self._runs.let_go(set(answer.released) | (set(request.known) - wanted))
        for shell in answer.shells:
            self._open_shell(shell)

    def _open_shell(self, order: ShellOrder) -> None:
        if order.shell_id in self._shells:
            return
        task = asyncio.create_task(serve_shell(self._line, self._engine, order))
        self._shells[order.shell_id] = task
        loop = asyncio.get_running_loop()
        # Remembered for a while after its end: an answer on its way may name it once more.
        task.add_done_callback(lambda _: loop.call_later(30.0, self._shells.pop, order.shell_id, None))

    # ---- the engine ---------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Look at the engine when it rings, and once in a while."""
        announces = self._engine if isinstance(self._engine, Announces) else None
        loop = asyncio.get_running_loop()
        if announces is not None:
            loop.add_reader(announces.fileno(), self._on_bell, announces)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._rung.wait(), _LOOK_EVERY_S)
                if not self._rung.is_set() and not len(self._runs):
                    continue
                self._rung.clear()
                reports = await asyncio.to_thread(self._engine.observe)
                if announces is None:
                    fresh = frozenset(held.run_id for held in self._runs)
                else:
                    fresh = announces.fresh_output()
                    loop.add_reader(announces.fileno(), self._on_bell, announces)
                self._runs.observed(reports, fresh)
        finally:
            if announces is not None:
                loop.remove_reader(announces.fileno())

    def _on_bell(self, announces: Announces) -> None:
        """Heard; not listened for again until the engine has been looked at."""
        asyncio.get_running_loop().remove_reader(announces.fileno())
        self._rung.set()


def _alive(report: RunReport) -> RunReport:
    """An end is told only with all that the run made, so until then it runs."""
    state = RunState.RUNNING if report.started_at_ms else RunState.STARTING
    return RunReport(report.run_id, state, started_at_ms=report.started_at_ms, enforced=report.enforced)
