"""A control plane on a simulated clock, with simulated sites behind a line that loses, repeats and delays.

Nothing here knows how the control plane works: a site follows the sync protocol, and the checkers look
at what the sites really ran and at what the people were promised.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from maillage.control.clock import SimulatedClock
from maillage.control.intake import Asked, Submit, cancel, requeue
from maillage.control.loop import Pending
from maillage.control.plane import Plane
from maillage.control.protocol import SyncRequest, SyncResponse
from maillage.control.reports import take_sync
from maillage.control.store import Store
from maillage.engines.port import PoolCapacity, RunOrder, RunReport
from maillage.network.model import Cooling, Grid, Network, Place, Pool, Site
from maillage.scheduling.policy import DEFAULT
from maillage.workloads.job import JobSpec
from maillage.workloads.lifecycle import EndReason, RunState


class Crash(Exception):
    """The process died here."""


def network(
    sites: tuple[str, ...] = ("paris", "marseille", "mulhouse"), nodes: int = 2, cpus: int = 4
) -> Network:
    return Network(
        "simulated",
        tuple(
            Site(
                id=name,
                place=Place(48.0, 2.0, "FR"),
                grid=Grid("FR", 1.0),
                cooling=Cooling(),
                pools=(Pool(name, "cpu", "cpu", nodes, 0, cpus, 8.0, nodes),),
            )
            for name in sites
        ),
    )


def spec(name: str = "work", **fields: Any) -> JobSpec:
    return JobSpec.model_validate({"name": name, "command": ["true"]} | fields)


class CrashingStore(Store):
    """A store whose process can die just before or just after a commit."""

    crash_before = crash_after = False

    def commit(self, entries: Any, writes: Any) -> None:
        if self.crash_before:
            raise Crash
        super().commit(entries, writes)
        if self.crash_after:
            raise Crash


class Rig:
    """A plane that can be killed and started again over the same store."""

    def __init__(self, path: Path, the_network: Network | None = None, site_timeout_s: float = 10.0) -> None:
        self.clock = SimulatedClock()
        self.network = the_network or network()
        self.path = path
        self.site_timeout_s = site_timeout_s
        self.store = self._open()
        self.plane = self._boot()

    def _open(self) -> CrashingStore:
        return CrashingStore(Store.open(self.path).engine)

    def _boot(self) -> Plane:
        plane = Plane(self.network, self.store, {}, DEFAULT, self.clock, self.site_timeout_s)
        plane.boot()
        self.plane = plane
        self._deliver()
        return plane

    def _deliver(self) -> None:
        outbox, self.plane.outbox = self.plane.outbox, []
        for act in outbox:
            act()

    def restart(self) -> None:
        """Kill the process, start another one."""
        self.store.close()
        self.store = self._open()
        self.plane = self._boot()

    def ask(self, act: Callable[[Any], Any]) -> Any:
        """One round with one input; its answer, as soon as it is durable."""
        answers: list[Any] = []
        self.plane.step([Pending(act, answers.append)])
        self._deliver()
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def tick(self, duration_s: float = 1.0) -> None:
        self.clock.advance(duration_s)
        self.plane.step([])
        self._deliver()

    def submit(self, *specs: JobSpec, key: str = "", project: str = "default") -> list[Any]:
        asked = [Asked(one, one.body(), key) for one in specs]
        return list(self.ask(Submit(self.plane.ids, asked, "org", project, "ada")))

    def cancel(self, job_id: str) -> None:
        self.ask(partial(cancel, wanted=job_id, user="ada"))

    def requeue(self, job_id: str) -> None:
        self.ask(partial(requeue, wanted=job_id, user="ada"))

    def sync(self, site: str, request: SyncRequest) -> SyncResponse:
        """What `Service.sync` does, without the waiting."""
        desk = self.plane.desks[site]
        came = desk.came()
        if not desk.is_late(request):
            said = desk.says(request)
            if desk.is_news(said):
                self.ask(partial(take_sync, site_id=site, request=request))
                desk.heard(said)
        assert request.incarnation == desk.incarnation, "a former incarnation"
        self.plane.watch.seen_s[site] = self.clock.mono_s()
        answer, _ = desk.answer(request, came, lambda project, names: {})
        desk.answered(answer)
        return answer


@dataclass
class Process:
    """A run as it really is at a site."""

    order: RunOrder
    state: RunState = RunState.ACCEPTED
    started_ms: int = 0
    ended_ms: int = 0
    reason: EndReason | None = None
    stop_at_ms: int = 0
    stop_reason: EndReason | None = None
    lasts_ms: int = 1000
    fails: bool = False
    checkpoint: str = ""

    def report(self) -> RunReport:
        return RunReport(
            run_id=self.order.run_id,
            state=self.state,
            reason=self.reason,
            started_at_ms=self.started_ms,
            ended_at_ms=self.ended_ms,
            exit_codes=(1,) if self.reason is EndReason.FAILED else (0,) if self.reason else (),
            checkpoint=self.checkpoint,
            metered_cpu_s=0.5,
        )


@dataclass
class World:
    """What really happened, seen by nobody but the checkers."""

    live: dict[str, str] = field(default_factory=dict)  # job id -> run id that holds a process now
    successes: dict[str, list[str]] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)
    two_at_once: list[tuple[str, str]] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)  # runs of which a site has lost every trace

    def began(self, run: Process) -> None:
        other = self.live.get(run.order.job_id)
        if other is not None:
            self.two_at_once.append((other, run.order.run_id))
        self.live[run.order.job_id] = run.order.run_id
        self.starts.append(run.order.run_id)

    def over(self, run: Process) -> None:
        if self.live.get(run.order.job_id) == run.order.run_id:
            del self.live[run.order.job_id]
        if run.reason is EndReason.SUCCEEDED:
            self.successes.setdefault(run.order.job_id, []).append(run.order.run_id)


class SimulatedSite:
    """An agent and its engine. The engine outlives the agent."""

    def __init__(self, rig: Rig, name: str, world: World, chance: random.Random) -> None:
        self.rig = rig
        self.name = name
        self.world = world
        self.chance = chance
        self.processes: dict[str, Process] = {}
        self.cut = False
        self.seen_ms = rig.clock.now_ms()
        self.version_seen = -1
        self.incarnations = 0
        self.seq = 0
        self.fail_ratio = 0.0
        self.late: list[SyncRequest] = []  # copies that the line may deliver again
        self.restart_agent()

    def restart_agent(self) -> None:
        self.incarnations += 1
        self.incarnation = f"{self.name}-{self.incarnations}"
        self.seq = 0
        self.version_seen = -1

    def lose_power(self) -> None:
        """Every process dies, and no trace of it is left (a burnt disk); another agent comes up."""
        self.world.forgotten.update(self.processes)
        for run in self.processes.values():
            if run.state is RunState.RUNNING:
                self._end(run, EndReason.NODE_LOST, self.rig.clock.now_ms())
        self.processes = {}
        self.restart_agent()

    def work(self) -> None:
        """The engine goes on, whether anyone sees it or not."""
        now_ms = self.rig.clock.now_ms()
        for run in self.processes.values():
            if run.state is RunState.ACCEPTED:
                run.state, run.started_ms = RunState.RUNNING, now_ms
                self.world.began(run)
            elif run.state is RunState.RUNNING:
                self._go_on(run, now_ms)

    def _go_on(self, run: Process, now_ms: int) -> None:
        cut_off_ms = now_ms - self.seen_ms
        if run.stop_at_ms and now_ms >= run.stop_at_ms:
            self._end(run, run.stop_reason or EndReason.CANCELLED, now_ms)
        elif run.order.site_stops_after_s and cut_off_ms > run.order.site_stops_after_s * 1000:
            self._end(run, EndReason.SITE_LOST, now_ms)
        elif now_ms - run.started_ms >= run.lasts_ms:
            self._end(run, EndReason.FAILED if run.fails else EndReason.SUCCEEDED, now_ms)
        elif self.chance.random() < 0.2:
            run.checkpoint = f"sha256:{self.chance.getrandbits(256):064x}"

    def _end(self, run: Process, reason: EndReason, now_ms: int) -> None:
        run.state, run.reason, run.ended_ms = RunState.EXITED, reason, now_ms
        self.world.over(run)

    def request(self) -> SyncRequest:
        self.seq += 1
        return SyncRequest(
            incarnation=self.incarnation,
            seq=self.seq,
            capacity=(PoolCapacity("cpu", 2),),
            reports=tuple(run.report() for run in self.processes.values()),
            known=tuple(self.processes),
            version_seen=self.version_seen,
        )

    def sync(self, lose_answer: bool = False) -> None:
        """One call over the line. Raises Crash when the control plane dies in it."""
        if self.cut:
            return
        request = self.request()
        self.late = [*self.late, request][-5:]
        answer = self.rig.sync(self.name, request)
        if not lose_answer:
            self._obey(answer)

    def repeat_something_old(self) -> None:
        """The line delivers an old call again."""
        if self.late and not self.cut:
            old = self.chance.choice(self.late)
            if old.incarnation == self.incarnation:
                self.rig.sync(self.name, old)

    def _obey(self, answer: SyncResponse) -> None:
        self.seen_ms = self.rig.clock.now_ms()
        self.version_seen = answer.version
        for order in answer.orders:
            assert order.run_id in answer.desired
            if order.run_id not in self.processes:
                run = Process(order)
                run.lasts_ms = self.chance.choice((200, 2000, 8000, 25000))
                run.fails = self.chance.random() < self.fail_ratio
                self.processes[order.run_id] = run
        for stop in answer.stop:
            run = self.processes.get(stop.run_id)
            if run is not None and not run.stop_at_ms and not run.state.ended:
                run.stop_reason = stop.reason
                run.stop_at_ms = self.rig.clock.now_ms() + self.chance.choice((0, int(stop.grace_s * 1000)))
                if run.state is RunState.ACCEPTED:
                    run.state, run.reason = RunState.EXITED, stop.reason
                    run.ended_ms = self.rig.clock.now_ms()
        for run_id in answer.released:
            assert self.processes[run_id].state.ended, "a living run was released"
            del self.processes[run_id]
