"""A site's desk: what it should have, as far as that is durable, and who waits to hear of it.

Desks belong to the event loop's thread; the loop thread sends them news after each commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from maillage.control.orders import Sheet
from maillage.control.protocol import ShellOrder, StopOrder, SyncRequest, SyncResponse
from maillage.engines.port import RunOrder
from maillage.errors import UserError
from maillage.workloads.lifecycle import EndReason

SecretsOf = Callable[[str, tuple[str, ...]], Mapping[str, str]]
LATE_GRACE_S = 10.0  # for a run that is over for us and still lives at its site
_INCARNATIONS_KEPT = 8
NEXT_S = 0.0  # call again at once: the wait is here


@dataclass(slots=True)
class News:
    """What a commit changed for one site."""

    version: int
    incarnation: str
    reachable: bool
    sheets: list[Sheet] = field(default_factory=list)
    stops: list[StopOrder] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


class Desk:
    """Where one site's calls are answered."""

    def __init__(self, site_id: str) -> None:
        self.site_id = site_id
        self.version = 0
        self.incarnation = ""
        self.reachable = False
        self._seqs: dict[str, int] = {}  # newest by incarnation
        self._answers = 0  # given so far: the order in which calls came and were answered
        self._told: tuple[int, int] = (-1, 0)  # newest version told, and in which answer
        self._sent: dict[str, int] = {}  # run id -> in which answer its order was sent
        self._heard: object = None  # what the last call that was folded said
        self._sheets: dict[str, Sheet] = {}
        self._stops: dict[str, StopOrder] = {}
        self._shells: dict[str, ShellOrder] = {}
        self._told_late: set[str] = set()  # runs over for us that the site was told to stop
        self._bell = asyncio.Event()

    # --- from the loop ---------------------------------------------------------------------------

    def take(self, news: News) -> None:
        if news.incarnation != self.incarnation:
            self._sent, self._told = {}, (-1, 0)
        self.version = news.version
        self.incarnation = news.incarnation
        self.reachable = news.reachable
        for sheet in news.sheets:
            self._sheets[sheet.order.run_id] = sheet
        for stop in news.stops:
            self._stops[stop.run_id] = stop
        for run_id in news.ended:
            self._sheets.pop(run_id, None)
            self._stops.pop(run_id, None)
            self._sent.pop(run_id, None)
        self.ring()

    def open_shell(self, order: ShellOrder) -> None:
        self._shells[order.shell_id] = order
        self.ring()

    def close_shell(self, shell_id: str) -> None:
        self._shells.pop(shell_id, None)

    def ring(self) -> None:
        """Wake whoever waits for this site."""
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    async def wait(self, timeout_s: float) -> None:
        """Until the next news, or the time is up."""
        bell = self._bell
        try:
            await asyncio.wait_for(bell.wait(), timeout_s)
        except TimeoutError:
            return

    # --- from the site ---------------------------------------------------------------------------

    def came(self) -> int:
        """A call came in: what to know it by when it is answered."""
        return self._answers

    def is_late(self, request: SyncRequest) -> bool:
        """Whether a newer call of this agent came before. If not, this is the newest from now on."""
        if request.seq <= self._seqs.get(request.incarnation, -1):
            return True
        self._seqs.pop(request.incarnation, None)
        self._seqs = dict(list(self._seqs.items())[-_INCARNATIONS_KEPT:]) | {request.incarnation: request.seq}
        return False

    def says(self, request: SyncRequest) -> object:
        """A call's content, to compare with the last one's; the CPU time so far is no news."""
        runs = tuple(replace(report, metered_cpu_s=0.0) for report in request.reports)
        known = frozenset(request.known)
        return (self.version, request.version_seen, request.incarnation, request.capacity, known, runs)

    def is_news(self, said: object) -> bool:
        return not self.reachable or said != self._heard

    def heard(self, said: object) -> None:
        """The call's content is durable."""
        self._heard = said

    def may_hold(self, request: SyncRequest, answer: SyncResponse, came: int) -> bool:
        """Whether the answer can wait: nothing in it is new to the agent.

        What another call was told since this one came is on its way already; were that answer lost,
        the agent would call again.
        """
        late = {stop.run_id for stop in answer.stop} - self._stops.keys()
        told_late, self._told_late = self._told_late, late
        version, told_in = self._told
        seen = max(request.version_seen, version) if told_in > came else request.version_seen
        nothing = not (answer.orders or answer.released or answer.shells or late - told_late)
        return nothing and seen == answer.version

    def answered(self, answer: SyncResponse) -> None:
        """The answer is given."""
        self._answers += 1
        self._told = (answer.version, self._answers)
        for order in answer.orders:
            self._sent[order.run_id] = self._answers

    def answer(
        self, request: SyncRequest, came: int, secrets_of: SecretsOf
    ) -> tuple[SyncResponse, dict[str, str]]:
        """What the site should have; and the runs that cannot be sent, with the reason."""
        has = set(request.known)
        has.update(report.run_id for report in request.reports)
        desired = [run_id for run_id in self._sheets if run_id not in self._stops]
        orders: list[RunOrder] = []
        broken: dict[str, str] = {}
        for run_id in desired:
            if run_id in has or self._sent.get(run_id, 0) > came:
                continue
            try:
                orders.append(_with_secrets(self._sheets[run_id], secrets_of))
            except UserError as error:
                broken[run_id] = str(error)
        over = [report for report in request.reports if report.run_id not in self._sheets]
        living = [report.run_id for report in over if not report.state.ended]
        response = SyncResponse(
            version=self.version,
            desired=tuple(desired),
            orders=tuple(orders),
            stop=(
                *self._stops.values(),
                *(StopOrder(run_id, EndReason.SITE_LOST, LATE_GRACE_S) for run_id in living),
            ),
            released=tuple(report.run_id for report in over if report.state.ended),
            shells=tuple(self._shells.values()),
            next_s=NEXT_S,
        )
        return response, broken

    def has(self, run_id: str) -> bool:
        return run_id in self._sheets


def _with_secrets(sheet: Sheet, secrets_of: SecretsOf) -> RunOrder:
    if not sheet.secrets:
        return sheet.order
    return replace(sheet.order, secrets=dict(secrets_of(sheet.order.project, sheet.secrets)))
