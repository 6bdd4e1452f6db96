"""The control plane without threads: the loop, its chores, and the desks that its news go to.

`step` is one round. What the event loop must hear of it (answers, news for desks) is put into `outbox`,
in order; whoever steps runs it afterwards. Tests step by hand, `Service` from a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from maillage.control import log, orders
from maillage.control.clock import Clock
from maillage.control.endpoints import Endpoints, Replica, endpoint_json, replicas_of
from maillage.control.intake import JobIds
from maillage.control.loop import Diverged, Loop, Pending
from maillage.control.orders import Sheet
from maillage.control.protocol import StopOrder
from maillage.control.records import EndpointRecord, Job, Run
from maillage.control.replay import network_body
from maillage.control.reports import Watch, end_run, tell_nodes
from maillage.control.round import Input, Round
from maillage.control.signals import SiteSignals
from maillage.control.sites import Desk, News
from maillage.control.state import Changes
from maillage.control.store import Store
from maillage.control.succession import check, live_jobs
from maillage.errors import Conflict, Fault
from maillage.feeds.recorded import Signals
from maillage.network.model import Network
from maillage.scheduling.feasibility import units_per_worker
from maillage.scheduling.messages import LimitChanged, SiteClosed
from maillage.scheduling.policy import Policy
from maillage.scheduling.replicas import ReplicaDemand
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.endpoint import EndpointSpec
from maillage.workloads.job import JobSpec
from maillage.workloads.lifecycle import EndReason

Spec = JobSpec | EndpointSpec
_SPECS_KEPT = 4096


class Plane:
    """`outbox` holds what is to run on the event loop's thread, oldest first."""

    def __init__(
        self,
        network: Network,
        store: Store,
        signals: Mapping[str, Signals],
        policy: Policy,
        clock: Clock,
        site_timeout_s: float = 10.0,
    ) -> None:
        self.network = network
        self.policy = policy
        self.store = store
        self.clock = clock
        self.ids = JobIds()
        self.watch = Watch(site_timeout_s)
        self.signals = SiteSignals(network, signals)
        self.endpoints = Endpoints(self.ids, lambda name: ReplicaDemand())  # the roof knows the demand
        self.desks = {site.id: Desk(site.id) for site in network.sites}
        self.endpoint_views: dict[str, tuple[dict[str, Any], tuple[Replica, ...]]] = {}
        self.outbox: list[Callable[[], None]] = []
        self.on_commit: Callable[[int], None] = lambda offset: None
        self.put: Callable[[Pending], None] = self._keep_for_next
        self._next: list[Pending] = []
        self.spec_of = lru_cache(_SPECS_KEPT)(self._read_spec)
        self.loop = Loop(
            store,
            clock,
            lambda: Scheduler(network, policy),
            self._publish,
            self._receipts,
            (self.watch.look, self.signals.look, self.endpoints.look, self._note_jump),
        )

    def boot(self) -> int:
        """Fold the log, note the network, give every desk what its site should have. Entries folded.

        Where the network, the policy or the scheduler is another one than before, a new core takes
        over. Raises Conflict when it cannot hold what is live.
        """
        diverged = False
        try:
            count = self.loop.restore()
        except Diverged:
            diverged = True
            count = self.loop.restore(with_core=False)
        body = network_body(self.network, self.policy)
        if diverged or self.loop.state.network != body:
            self._take_over(body)
        else:
            self.step([])
        self._tell_all()
        return count

    def _take_over(self, body: dict[str, Any]) -> None:
        told = live_jobs(self.loop.state, self.loop.asked, self.clock.now_ms() // 1000)
        check(self.network, self.policy, told)
        self.loop.begin_core()

        def act(round_: Round) -> None:
            _note_network(round_, body)
            for job_id, event in told:
                round_.tell(event, job_id)

        self.step([Pending(act, _raise_fault)])

    def _tell_all(self) -> None:
        """Desks and views from nothing, as after a start."""
        state = self.loop.state
        for site in state.sites.values():
            if site.site_id in self.desks:
                live = list(site.live.values())
                self._tell_desk(site.site_id, live, live, [])
        for endpoint in state.endpoints.values():
            self._show(endpoint.name, endpoint)

    def step(self, inputs: Sequence[Pending]) -> None:
        follow, self._next = self._next, []
        self.loop.step([*follow, *inputs])

    def _keep_for_next(self, pending: Pending) -> None:
        self._next.append(pending)

    def later(self, act: Input) -> None:
        """An input of our own, whose answer nobody waits for."""
        self.put(Pending(act, lambda result: None))

    # --- after a commit --------------------------------------------------------------------------

    def _publish(self, changes: Changes, offset: int) -> None:
        for name, endpoint in changes.endpoints.items():
            self._show(name, endpoint)
        started: dict[str, list[Run]] = {site_id: [] for site_id in changes.sites}
        stopped: dict[str, list[Run]] = {site_id: [] for site_id in changes.sites}
        ended: dict[str, list[str]] = {site_id: [] for site_id in changes.sites}
        for run in changes.new_runs.values():
            if not run.state.ended:
                started[run.site].append(run)
        for run in changes.stopped.values():
            if not run.state.ended:
                stopped[run.site].append(run)
        for run in changes.ended_runs.values():
            ended[run.site].append(run.run_id)
        for site_id in changes.sites:
            if site_id in self.desks:
                self._tell_desk(site_id, started[site_id], stopped[site_id], ended[site_id])
        self.outbox.append(lambda: self.on_commit(offset))

    def _tell_desk(self, site_id: str, started: list[Run], stopped: list[Run], ended: list[str]) -> None:
        site = self.loop.state.sites[site_id]
        sheets = [sheet for sheet in map(self._sheet, started) if sheet is not None]
        news = News(
            version=site.version,
            incarnation=site.incarnation,
            reachable=site.reachable,
            sheets=sheets,
            stops=[self._stop_order(run) for run in stopped if run.stop is not None],
            ended=ended,
        )
        self.outbox.append(lambda: self.desks[site_id].take(news))

    def _sheet(self, run: Run) -> Sheet | None:
        job = self.loop.state.jobs[run.job_id]
        try:
            return orders.sheet(job, run, self.spec_of(job.spec_digest), self.store.outputs)
        except Conflict as error:
            self.fail_run(run.run_id, str(error))
            return None

    def fail_run(self, run_id: str, message: str) -> None:
        """What a run needs cannot be brought: end it, with the next round."""

        def act(round_: Round) -> None:
            run = round_.state.runs.get(run_id)
            if run is not None and not run.state.ended:
                end_run(round_, run, EndReason.INPUT_MISSING, message)

        self.later(act)

    def _stop_order(self, run: Run) -> StopOrder:
        assert run.stop is not None
        spec = self.spec_of(self.loop.state.jobs[run.job_id].spec_digest)
        grace_s = spec.checkpoint.grace if isinstance(spec, JobSpec) else orders.REPLICA_GRACE_S
        return StopOrder(run.run_id, run.stop, grace_s)

    def _show(self, name: str, endpoint: EndpointRecord | None) -> None:
        if endpoint is None:
            self.endpoint_views.pop(name, None)
        else:
            self.endpoint_views[name] = (endpoint_json(endpoint), replicas_of(endpoint))

    def _receipts(self, changes: Changes) -> dict[str, bytes]:
        return self.signals.receipts(changes, self._units, self.clock.now_ms())

    def _units(self, job: Job, run: Run) -> int:
        """Units that a run held: what the pool's nodes are shared by."""
        spec = self.spec_of(job.spec_digest)
        asked = orders.submitted(spec, job.job_id, 0, job.org)
        per_worker = units_per_worker(self.network.pool(run.site, run.pool), asked)
        return per_worker * sum(workers for _, workers in run.placement)

    def _read_spec(self, digest: str) -> Spec:
        return read_spec(orjson.loads(self.store.spec(digest)))

    def _note_jump(self, round_: Round) -> None:
        jump_ms = self.clock.take_jump_ms()
        if jump_ms:
            round_.note(log.CLOCK_JUMPED, {"by_ms": jump_ms})


def _raise_fault(result: object) -> None:
    """A start without its network noted is none."""
    if isinstance(result, Fault):
        raise result


def _note_network(round_: Round, body: dict[str, Any]) -> None:
    """Begin the log, or a new core in it; sites are closed until they are seen."""
    round_.note(log.NETWORK, body)
    for site_id in body["sites"]:
        site = round_.state.sites[site_id]
        if not site.reachable:
            round_.tell(SiteClosed(site_id, round_.now_s, "unreachable"))
        tell_nodes(round_, site_id, (), site.capacity)
        if site.drained:
            round_.tell(SiteClosed(site_id, round_.now_s, "drained"))
        if site.limit_kw is not None:
            round_.tell(LimitChanged(site_id, round_.now_s, site.limit_kw))


def read_spec(body: dict[str, Any]) -> Spec:
    """A spec that was checked when it was taken."""
    return (EndpointSpec if body.get("kind") == "endpoint" else JobSpec).model_validate(body)
