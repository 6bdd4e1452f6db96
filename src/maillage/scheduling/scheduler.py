"""The decision core as the loops see it: messages in, messages out, arrays inside.

`Scheduler` owns the kernel's state, grows it, and maps ids to rows. It decides nothing: every choice
is the kernel's. Both clocks, the live loop and the twin, call this class or the same kernel functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from maillage.energy.cooling import PueCurve, it_headroom_kw, pue_curve
from maillage.errors import Conflict
from maillage.network.model import Network
from maillage.scheduling import state as memory
from maillage.scheduling.feasibility import Choice, choices, units_per_worker
from maillage.scheduling.kernel import fold as folding
from maillage.scheduling.kernel import layout
from maillage.scheduling.kernel.decide import decide as decide_kernel
from maillage.scheduling.kernel.fit import add_shape
from maillage.scheduling.kernel.forecast import start_of
from maillage.scheduling.kernel.layout import NONE
from maillage.scheduling.messages import (
    Adopted,
    CancelRequested,
    Command,
    Drop,
    Ended,
    Event,
    LimitChanged,
    NodesDown,
    NodesUp,
    RequeueRequested,
    SignalChanged,
    SiteClosed,
    SiteOpened,
    Start,
    Stop,
    Submitted,
)
from maillage.scheduling.policy import DEFAULT, Policy
from maillage.workloads.lifecycle import EndReason, JobState, after_ending

REASONS = {
    layout.PREEMPTED: EndReason.PREEMPTED,
    layout.BEFORE_FAILED: EndReason.DEPENDENCY_FAILED,
    layout.CANCELLED: EndReason.CANCELLED,
    layout.REQUEUED: EndReason.REQUEUED,
}
OPTIMISE = {"wait": 0, "carbon": 1, "price": 2}
FORECAST_ENDS = 100_000  # how far ahead a forecast looks, in decisions
TEMPERATE_C = 15.0  # the weather assumed until the first signal: the mean of a French spring day


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """What a pool has and gives now, in units (accelerators, or CPUs where it has none)."""

    site: str
    pool: str
    units_total: int
    units_free: int
    nodes_up: int
    nodes_down: int
    running: int


@dataclass(slots=True)
class _SiteNow:
    """What limits a site's IT power: the order in kW at the meter (below 0: none) and the weather."""

    curve: PueCurve
    limit_kw: float
    outdoor_c: float = TEMPERATE_C


class Scheduler:
    """Folds events and decides. Ids that are not known, and attempts that are not live, change nothing."""

    def __init__(self, network: Network, policy: Policy = DEFAULT) -> None:
        self.network = network
        self.policy = policy
        self.state = memory.build(network, policy)
        self.row_of: dict[str, int] = {}
        self.id_of: dict[int, str] = {}
        self.submitted: dict[str, Submitted] = {}
        self._orgs: dict[str, int] = {}
        self._asks: dict[tuple[Choice, ...], int] = {}
        self._shapes: dict[tuple[int, int], int] = {}
        self._choices = 0
        self._spreads: dict[str, int] = {}
        self._pools = {(pool.site, pool.id): number for number, pool in enumerate(network.pools)}
        self._sites = {site.id: number for number, site in enumerate(network.sites)}
        self._now = {
            site.id: _SiteNow(pue_curve(site.cooling.kind, site.cooling.supply_c), site.connection_kw)
            for site in network.sites
        }
        for site_id in self._sites:
            self._limit(site_id)

    # -- events ------------------------------------------------------------------------------------

    def fold(self, event: Event) -> None:
        """Let an event change the state. Raises Conflict for an attempt that this network cannot hold."""
        match event:
            case Submitted():
                self._submit(event)
            case Adopted():
                self._adopt(event)
            case Ended():
                self._end(event)
            case CancelRequested():
                self._cancel(event)
            case RequeueRequested():
                self._requeue(event)
            case NodesDown() | NodesUp():
                self._nodes(event.site, event.pool, event.nodes, up=isinstance(event, NodesUp))
            case SiteOpened() | SiteClosed():
                self._open_or_close(event)
            case LimitChanged():
                self._now[event.site].limit_kw = event.limit_kw
                self._limit(event.site)
            case SignalChanged():
                self._signal(event)
            case _:
                pass  # Started: the nodes are held since the command

    def decide(self, now_s: int) -> tuple[Command, ...]:
        """What is to be done now. Deciding twice with nothing between says nothing the second time."""
        count = decide_kernel(self.state, now_s)
        return tuple(self._command(self.state.commands[i]) for i in range(count))

    # -- questions ---------------------------------------------------------------------------------

    def knows(self, job_id: str) -> bool:
        """Whether the job is still held, waiting or live here."""
        return job_id in self.row_of

    def pools(self) -> tuple[PoolLoad, ...]:
        """Load of every pool, in the network's order."""
        loads = []
        for number, pool in enumerate(self.network.pools):
            row = self.state.pools[number]
            up = self.state.nodes.up[row.node_first : row.node_first + row.nodes]
            nodes_up = int(up.sum())
            loads.append(
                PoolLoad(
                    site=pool.site,
                    pool=pool.id,
                    units_total=nodes_up * int(row.units),
                    units_free=int(row.free_units),
                    nodes_up=nodes_up,
                    nodes_down=int(row.nodes) - nodes_up,
                    running=int(self.state.lines[row.line].rows),
                )
            )
        return tuple(loads)

    def expected_start_s(self, job_id: str, now_s: int) -> int | None:
        """When a waiting job starts, if everything ends by its time limit and nothing new arrives."""
        row = self.row_of.get(job_id)
        if row is None:
            return None
        start_s = int(start_of(memory.copy(self.state), row, now_s, FORECAST_ENDS))
        return None if start_s == NONE else start_s

    def ahead(self, event: Submitted, now_s: int) -> tuple[int | None, str, str]:
        """Where and when a job would start if it were submitted now: (start_s, site, pool)."""
        copy = self.copy()
        copy.fold(replace(event, job_id="?"))
        row = copy.row_of["?"]
        start_s = int(start_of(copy.state, row, now_s, FORECAST_ENDS))
        if start_s == NONE:
            return None, "", ""
        pool = self.network.pools[int(copy.state.shapes[copy.state.jobs[row].shape_id].pool)]
        return start_s, pool.site, pool.id

    def copy(self) -> Scheduler:
        """An independent scheduler in the same state."""
        other = Scheduler.__new__(Scheduler)
        for name, value in vars(self).items():
            setattr(other, name, value.copy() if isinstance(value, dict) else value)
        other.state = memory.copy(self.state)
        other._now = {site: replace(now) for site, now in self._now.items()}
        return other

    # -- jobs --------------------------------------------------------------------------------------

    def _submit(self, event: Submitted) -> None:
        if event.job_id in self.row_of:
            return
        found = choices(self.network, event)
        if self.state.core[0].job_free == NONE:
            self.state = memory.with_jobs(self.state)
        ask = self._ask(found)
        org = self._org(event.org)
        row = int(folding.new_job(self.state))
        job = self.state.jobs[row]
        job.ask, job.org, job.workers = ask, org, event.workers
        job.job_class, job.retries = int(event.job_class), event.retries
        job.estimate_s = event.estimate_s or NONE
        job.submit_s, job.line_key = event.at_s, -event.priority
        job.need = event.workers * min((choice.units for choice in found), default=1)
        job.optimise = OPTIMISE[event.optimise]
        job.spread = self._spread(event.spread)
        self.row_of[event.job_id], self.id_of[row] = row, event.job_id
        self.submitted[event.job_id] = event
        before = [self.row_of[job_id] for job_id in event.after if job_id in self.row_of]
        for parent in before:
            if self.state.core[0].edge_free == NONE:
                self.state = memory.with_edges(self.state)
            folding.wait_for(self.state, row, parent)
        folding.submit(self.state, row)

    def _adopt(self, event: Adopted) -> None:
        row = self.row_of.get(event.job_id)
        if row is None or self.state.jobs[row].status != layout.WAITING:
            return
        if not event.site:
            self.state.jobs[row].attempt = event.attempt
            return
        number = self._pools.get((event.site, event.pool))
        if number is None:
            raise Conflict(f"job {event.job_id} runs at {event.site}/{event.pool}, which this network lacks")
        units = units_per_worker(self.network.pools[number], self.submitted[event.job_id])
        self._ask((Choice(number, units),))
        first, nodes = int(self.state.pools[number].node_first), int(self.state.pools[number].nodes)
        for node, workers in event.placement:
            if not 0 <= node < nodes or self.state.nodes[first + node].free < workers * units:
                raise Conflict(
                    f"job {event.job_id} holds {workers * units} units of node {node} of "
                    f"{event.site}/{event.pool}, which this network does not have free there"
                )
        for node, workers in event.placement:
            folding.adopt_node(self.state, row, first + node, workers, units)
        folding.adopt(self.state, row, self._shapes[number, units], event.attempt, event.at_s)

    def _end(self, event: Ended) -> None:
        row = self.row_of.get(event.job_id)
        if row is None:
            return
        job = self.state.jobs[row]
        if job.attempt != event.attempt or job.status not in (layout.LIVE, layout.STOPPING):
            return
        goes_to = after_ending(event.reason, int(job.retries))
        requeue = goes_to is JobState.PENDING and not job.cancelled
        if requeue and event.reason in (EndReason.FAILED, EndReason.OUT_OF_MEMORY, EndReason.DISK_FULL):
            job.retries -= 1
        folding.end(self.state, row, event.at_s, requeue)
        if not requeue:
            folding.tell_followers(self.state, row, goes_to is JobState.SUCCEEDED)
            self._forget(row)

    def _cancel(self, event: CancelRequested) -> None:
        row = self.row_of.get(event.job_id)
        if row is None:
            return
        job = self.state.jobs[row]
        if job.cancelled:
            return
        job.cancelled = 1
        if job.status in (layout.HELD, layout.WAITING):
            folding.withdraw(self.state, row)
        elif job.status in (layout.LIVE, layout.STOPPING):
            folding.ask_stop(self.state, row, layout.CANCELLED, event.at_s)

    def _requeue(self, event: RequeueRequested) -> None:
        row = self.row_of.get(event.job_id)
        if row is not None and self.state.jobs[row].status == layout.LIVE:
            folding.ask_stop(self.state, row, layout.REQUEUED, event.at_s)

    def _forget(self, row: int) -> None:
        job_id = self.id_of.pop(row)
        del self.row_of[job_id], self.submitted[job_id]
        folding.free_job(self.state, row)

    def _ask(self, found: tuple[Choice, ...]) -> int:
        """The number of a set of choices; sets that were seen before share one."""
        if found in self._asks:
            return self._asks[found]
        number = len(self._asks)
        self.state = memory.with_shapes(
            self.state,
            shapes=len(self._shapes) + len(found),
            asks=2 * (number + 1),
            choices=2 * (self._choices + len(found)),
            spreads=0,
        )
        self.state.asks[number].first = self._choices
        self.state.asks[number].choices = len(found)
        for choice in found:
            self.state.choices[self._choices] = self._shape(choice)
            self._choices += 1
        self._asks[found] = number
        return number

    def _shape(self, choice: Choice) -> int:
        key = (choice.pool, choice.units)
        if key not in self._shapes:
            self._shapes[key] = len(self._shapes)
            add_shape(self.state, self._shapes[key], choice.pool, choice.units)
        return self._shapes[key]

    def _org(self, org: str) -> int:
        if org not in self._orgs:
            number = len(self._orgs)
            if number == len(self.state.orgs):
                self.state = memory.with_orgs(self.state, 2 * number)
            self._orgs[org] = number
            self.state.core[0].orgs = number + 1
        return self._orgs[org]

    def _spread(self, group: str) -> int:
        if not group:
            return NONE
        if group not in self._spreads:
            number = len(self._spreads)
            self.state = memory.with_shapes(self.state, 0, 0, 0, spreads=2 * (number + 1))
            self._spreads[group] = number
        return self._spreads[group]

    # -- sites -------------------------------------------------------------------------------------

    def _nodes(self, site: str, pool: str, nodes: Iterable[int], *, up: bool) -> None:
        number = self._pools.get((site, pool))
        if number is None:
            return
        row = self.state.pools[number]
        for node in nodes:
            if 0 <= node < row.nodes:
                folding.set_node(self.state, int(row.node_first) + node, int(up))

    def _open_or_close(self, event: SiteOpened | SiteClosed) -> None:
        number = self._sites.get(event.site)
        if number is None:
            return
        closed = int(self.state.sites[number].closed)
        bit = layout.UNREACHABLE if event.reason == "unreachable" else layout.DRAINED
        closed = closed | bit if isinstance(event, SiteClosed) else closed & ~bit
        folding.set_site(self.state, number, closed)

    def _signal(self, event: SignalChanged) -> None:
        number = self._sites.get(event.site)
        if number is None:
            return
        self.state.sites[number].known = 1
        self.state.sites[number].carbon = event.carbon_g_per_kwh
        self.state.sites[number].price = event.price_eur_per_mwh
        self._now[event.site].outdoor_c = event.outdoor_c
        self._limit(event.site)

    def _limit(self, site: str) -> None:
        """Bring the site's IT limit in line with the order at its meter and the weather."""
        now = self._now[site]
        row = self.state.sites[self._sites[site]]
        if now.limit_kw < 0:
            limit_mw = NONE
        else:
            limit_mw = int(it_headroom_kw(now.limit_kw, now.outdoor_c, now.curve) * memory.MW_PER_KW)
        if limit_mw < 0 or limit_mw > row.limit_mw:
            self.state.core[0].dirty = 1
        row.limit_mw = limit_mw

    # -- commands ----------------------------------------------------------------------------------

    def _command(self, command: Any) -> Command:
        row = int(command.job)
        job_id, attempt = self.id_of[row], int(command.attempt)
        if command.what == layout.START:
            return self._start(row, job_id, attempt, int(command.reason))
        reason = REASONS[int(command.reason)]
        if command.what == layout.STOP:
            return Stop(job_id, attempt, reason)
        self._forget(row)
        return Drop(job_id, reason)

    def _start(self, row: int, job_id: str, attempt: int, among: int) -> Start:
        job = self.state.jobs[row]
        number = int(self.state.shapes[job.shape_id].pool)
        pool = self.network.pools[number]
        first = int(self.state.pools[number].node_first)
        placement = []
        index = int(job.entries)
        while index != NONE:
            entry = self.state.entries[index]
            placement.append((int(entry.node) - first, int(entry.workers)))
            index = int(entry.after)
        reason = self._why_here(job_id, pool.site, among)
        return Start(job_id, attempt, pool.site, pool.id, tuple(reversed(placement)), reason)

    def _why_here(self, job_id: str, site: str, among: int) -> str:
        """One sentence: among how many pools with room it was chosen, and by what."""
        if among == 1:
            return "the only pool with room"
        row = self.state.sites[self._sites[site]]
        if not row.known and not self.submitted[job_id].spread:
            return f"first of {among} pools with room: carbon and price unknown"
        carbon, price = f"{row.carbon:.0f} gCO2e/kWh", f"{row.price:.0f} EUR/MWh"
        event = self.submitted[job_id]
        if event.spread:
            return f"fewest replicas of {event.spread} among {among} pools with room"
        if event.optimise == "carbon":
            return f"least carbon of {among} pools with room: {carbon}"
        if event.optimise == "price":
            return f"lowest price of {among} pools with room: {price}"
        return f"best of {among} pools with room by carbon and price: {carbon}, {price}"
