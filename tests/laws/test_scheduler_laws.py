"""Laws of the decision core, by random histories. Each safety law stands beside a progress law.

The checker keeps its own books (plain dicts of nodes and jobs) and knows nothing of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from maillage.network.model import Cooling, Grid, Network, Place, Pool, Site
from maillage.scheduling.feasibility import choices
from maillage.scheduling.messages import (
    CancelRequested,
    Command,
    Drop,
    Ended,
    JobClass,
    NodesDown,
    NodesUp,
    RequeueRequested,
    SiteClosed,
    SiteOpened,
    Start,
    Stop,
    Submitted,
)
from maillage.scheduling.policy import DEFAULT, EASY, FCFS, Policy
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.lifecycle import EndReason
from tests.laws.invariants import assert_sound


def network(pools: list[tuple[str, str, str, int, int, int]], connection_mw: float = 1000.0) -> Network:
    """Sites from (site, pool, kind, nodes, units per node, nodes per domain)."""
    sites: dict[str, list[Pool]] = {}
    for site, pool, kind, nodes, units, domain in pools:
        gpus = 0 if kind == "cpu" else units
        cpus = units if kind == "cpu" else units * 12
        sites.setdefault(site, []).append(
            Pool(site, pool, kind, nodes, gpus, cpus, float(units * 64), domain)
        )
    place = Place(48.0, 2.0, "FR")
    return Network(
        "laws",
        tuple(
            Site(site, place, Grid("FR", connection_mw), Cooling(), tuple(pools))
            for site, pools in sites.items()
        ),
    )


SMALL = network(
    [
        ("paris", "h100", "H100", 6, 8, 2),
        ("paris", "cpu", "cpu", 2, 4, 2),
        ("mulhouse", "h100", "H100", 3, 4, 3),
        ("mulhouse", "b200", "B200", 4, 8, 1),
    ]
)


@dataclass
class Books:
    """What a stranger can know from messages alone."""

    network: Network
    jobs: dict[str, Submitted] = field(default_factory=dict)
    used: dict[tuple[str, str, int], int] = field(default_factory=dict)
    live: dict[str, Start] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    down: set[tuple[str, str, int]] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    preempted: set[str] = field(default_factory=set)

    def units(self, start: Start) -> int:
        pools = self.network.pools
        return next(
            choice.units
            for choice in choices(self.network, self.jobs[start.job_id])
            if (pools[choice.pool].site, pools[choice.pool].id) == (start.site, start.pool)
        )

    def hear(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            match command:
                case Start():
                    self.start(command)
                case Stop():
                    assert self.live[command.job_id].attempt == command.attempt
                    if command.reason is EndReason.PREEMPTED:
                        assert self.jobs[command.job_id].job_class is JobClass.FLEXIBLE
                        self.preempted.add(command.job_id)
                case Drop():
                    assert command.job_id not in self.live
                    self.over.add(command.job_id)

    def start(self, start: Start) -> None:
        job = self.jobs[start.job_id]
        assert start.job_id not in self.live, "two live attempts"
        assert start.job_id not in self.over, "a job that is over started"
        assert start.site not in self.closed, "a closed site took work"
        assert all(before in self.over or before not in self.jobs for before in job.after)
        assert start.attempt == self.attempts.get(start.job_id, 0) + 1, "attempts count up by one"
        assert sum(workers for _, workers in start.placement) == job.workers, "a gang is whole"
        pool = self.network.pool(start.site, start.pool)
        assert pool.accelerator in job.accelerators
        assert not job.sites or start.site in job.sites
        units = self.units(start)
        for node, workers in start.placement:
            key = (start.site, start.pool, node)
            assert key not in self.down, "a lost node took work"
            self.used[key] = self.used.get(key, 0) + workers * units
            assert self.used[key] <= pool.units_per_node, "a unit promised twice"
        self.live[start.job_id] = start
        self.attempts[start.job_id] = start.attempt

    def end(self, job_id: str) -> Start:
        start = self.live.pop(job_id)
        for node, workers in start.placement:
            self.used[start.site, start.pool, node] -= workers * self.units(start)
        return start


job_fields = st.fixed_dictionaries(
    {
        "org": st.sampled_from(["a", "b", "c"]),
        "workers": st.integers(1, 12),
        "accelerators": st.sampled_from([("H100",), ("B200",), ("H100", "B200"), ("cpu",)]),
        "per_worker": st.sampled_from([1, 2, 3, 4, 8]),
        "estimate_s": st.sampled_from([0, 5, 20, 100]),
        "job_class": st.sampled_from(list(JobClass)),
        "priority": st.integers(-1, 1),
        "sites": st.sampled_from([(), (), ("paris",), ("mulhouse",)]),
        "retries": st.integers(0, 2),
        "spread": st.sampled_from(["", "", "chat"]),
    }
)
step = st.one_of(
    st.tuples(st.just("submit"), job_fields, st.integers(0, 5)),
    st.tuples(st.just("end"), st.integers(0, 50), st.sampled_from(list(EndReason))),
    st.tuples(st.just("cancel"), st.integers(0, 50), st.just(0)),
    st.tuples(st.just("requeue"), st.integers(0, 50), st.just(0)),
    st.tuples(st.just("node"), st.integers(0, 14), st.booleans()),
    st.tuples(st.just("site"), st.sampled_from(["paris", "mulhouse"]), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 60), st.just(0)),
)
policies = st.sampled_from([DEFAULT, EASY, FCFS, Policy(name="fair", preempt=False)])


class History:
    """Plays steps against the core and the books."""

    def __init__(self, policy: Policy, net: Network = SMALL) -> None:
        self.scheduler = Scheduler(net, policy)
        self.books = Books(net)
        self.now = 1000
        self.nodes = [(p.site, p.id, n) for p in net.pools for n in range(p.nodes)]

    def play(self, kind: str, one: object, two: object) -> None:
        scheduler, books = self.scheduler, self.books
        if kind == "submit":
            number = len(books.jobs)
            after = tuple(f"j{n}" for n in range(max(0, number - 2), number) if n % 7 == two)
            job = Submitted(f"j{number}", self.now, after=after, **one)  # type: ignore[arg-type]
            if choices(books.network, job):
                live_before = tuple(j for j in after if j in books.jobs and scheduler.knows(j))
                books.jobs[job.job_id] = Submitted(
                    **{**{f: getattr(job, f) for f in job.__slots__}, "after": live_before}
                )
                scheduler.fold(books.jobs[job.job_id])
        elif kind == "end" and books.live:
            job_id = sorted(books.live)[one % len(books.live)]  # type: ignore[operator]
            start = books.end(job_id)
            scheduler.fold(Ended(job_id, start.attempt, self.now, two))  # type: ignore[arg-type]
            scheduler.fold(Ended(job_id, start.attempt, self.now, two))  # type: ignore[arg-type]
            if not scheduler.knows(job_id):
                books.over.add(job_id)
        elif kind == "cancel" and books.jobs:
            scheduler.fold(CancelRequested(f"j{one % (len(books.jobs) + 2)}", self.now))  # type: ignore[operator]
        elif kind == "requeue" and books.jobs:
            scheduler.fold(RequeueRequested(f"j{one % len(books.jobs)}", self.now))  # type: ignore[operator]
        elif kind == "node":
            key = self.nodes[one % len(self.nodes)]  # type: ignore[operator]
            (books.down.add if two else books.down.discard)(key)
            message = NodesDown if two else NodesUp
            scheduler.fold(message(key[0], key[1], (key[2],), self.now))
        elif kind == "site":
            (books.closed.add if two else books.closed.discard)(one)  # type: ignore[arg-type]
            scheduler.fold((SiteClosed if two else SiteOpened)(one, self.now))  # type: ignore[arg-type]
        elif kind == "wait":
            self.now += one  # type: ignore[operator]
        books.hear(scheduler.decide(self.now))
        assert scheduler.decide(self.now) == (), "nothing new, nothing to say"
        assert_sound(scheduler)

    def drain(self) -> None:
        """Mend everything and let all live work succeed, until nothing happens any more."""
        for site in sorted(self.books.closed):
            self.play("site", site, False)
        for key in sorted(self.books.down):
            self.play("node", self.nodes.index(key), False)
        while self.books.live:
            self.now += 10
            self.play("end", 0, EndReason.SUCCEEDED)


@settings(max_examples=150, deadline=None)
@given(policies, st.lists(step, max_size=60))
def test_any_history_is_safe_and_everything_runs_in_the_end(
    policy: Policy, steps: list[tuple[str, object, object]]
) -> None:
    history = History(policy)
    for kind, one, two in steps:
        history.play(kind, one, two)
    history.drain()
    assert history.books.over == set(history.books.jobs), "everything that can run does in the end"
    assert not history.scheduler.row_of
    loads = history.scheduler.pools()
    assert all(load.units_free == load.units_total for load in loads), "all that was held is free again"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 40)), min_size=2, max_size=40))
def test_the_head_starts_no_later_than_its_shadow_and_backfill_starts_something(
    asked: list[tuple[int, int]],
) -> None:
    """EASY: whatever is let past, the first blocked job starts when it was promised, or sooner."""
    net = network([("a", "p", "H100", 4, 2, 2)])
    scheduler = Scheduler(net, EASY)
    for number, (workers, estimate) in enumerate(asked):
        scheduler.fold(
            Submitted(f"{number:03}", 0, workers=workers, accelerators=("H100",), estimate_s=estimate)
        )
    ends: dict[str, int] = {}
    promised: dict[str, int] = {}
    now, started = 0, 0
    while True:
        for command in scheduler.decide(now):
            assert isinstance(command, Start)
            assert now <= promised.get(command.job_id, now)
            ends[command.job_id] = now + asked[int(command.job_id)][1]
            started += 1
        pool = scheduler.state.pools[0]
        if pool.head >= 0:
            head = scheduler.id_of[int(pool.head)]
            promised[head] = min(promised.get(head, int(pool.shadow_s)), int(pool.shadow_s))
        if not ends:
            break
        now = min(ends.values())
        for job_id in [job_id for job_id, at in ends.items() if at == now]:
            del ends[job_id]
            scheduler.fold(Ended(job_id, 1, now, EndReason.SUCCEEDED))
    assert started == len(asked)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(1, 6))
def test_preemption_frees_what_is_needed_no_more_and_does_not_loop(flexible: list[int], workers: int) -> None:
    net = network([("a", "p", "H100", 6, 1, 3)])
    history = History(DEFAULT, net)
    for size in flexible:
        fields = {"workers": size, "accelerators": ("H100",), "job_class": JobClass.FLEXIBLE}
        history.play("submit", {**fields, "estimate_s": 1000}, 9)
    history.play("submit", {"workers": workers, "accelerators": ("H100",), "estimate_s": 50}, 9)
    books = history.books
    urgent = f"j{len(flexible)}"
    stopped = sorted(books.preempted)
    free = 6 - sum(books.jobs[j].workers for j in books.live)
    if urgent in books.live:
        assert not stopped, "nothing is preempted for a job that fits"
    else:
        freed = [books.jobs[j].workers for j in stopped]
        assert free + sum(freed) >= workers
        assert all(free + sum(freed) - size < workers for size in freed), "no victim too many"
        for job_id in stopped:
            start = books.end(job_id)
            ended = Ended(job_id, start.attempt, history.now, EndReason.PREEMPTED)
            history.scheduler.fold(ended)
        books.hear(history.scheduler.decide(history.now))
        assert urgent in books.live, "the victims made room for it"
    assert len(books.preempted) == len(stopped), "a victim that comes back preempts nobody"
    history.drain()
    assert books.over == set(books.jobs)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 6)), min_size=1, max_size=30))
def test_the_power_limit_holds_and_something_runs_below_it(asked: list[tuple[int, int]]) -> None:
    net = network([("a", "p", "H100", 4, 8, 4)], connection_mw=0.025)
    scheduler = Scheduler(net, EASY)
    pool = net.pools[0]
    unit_kw = (pool.peak_kw - pool.idle_kw) / pool.units
    limit_kw = float(scheduler.state.sites[0].limit_mw) / 1e6
    fitting = int((limit_kw - pool.idle_kw) // unit_kw)
    assert 0 < fitting < pool.units, "the limit binds before the nodes do"
    held: dict[str, int] = {}
    for number, (units, ending) in enumerate(asked):
        scheduler.fold(
            Submitted(f"{number:03}", number, per_worker=units, accelerators=("H100",), estimate_s=60)
        )
        for command in scheduler.decide(number):
            assert isinstance(command, Start)
            held[command.job_id] = asked[int(command.job_id)][0]
        assert pool.idle_kw + sum(held.values()) * unit_kw <= limit_kw + 1e-6
        assert held, "a limit is no reason to start nothing"
        for job_id in sorted(held)[: ending if len(held) > ending else 0]:
            del held[job_id]
            scheduler.fold(Ended(job_id, 1, number, EndReason.SUCCEEDED))
        for command in scheduler.decide(number):
            assert isinstance(command, Start)
            held[command.job_id] = asked[int(command.job_id)][0]
        assert pool.idle_kw + sum(held.values()) * unit_kw <= limit_kw + 1e-6


def test_an_organisation_that_used_less_goes_first_and_none_starves() -> None:
    net = network([("a", "p", "H100", 1, 4, 1)])
    scheduler = Scheduler(net, Policy(preempt=False))
    for number in range(40):
        scheduler.fold(Submitted(f"a{number:02}", 0, org="a", accelerators=("H100",), estimate_s=100))
    for number in range(8):
        scheduler.fold(Submitted(f"b{number:02}", 1, org="b", accelerators=("H100",), estimate_s=100))
    order: list[str] = []
    now = 1
    while commands := scheduler.decide(now):
        for command in commands:
            assert isinstance(command, Start)
            order.append(command.job_id)
        now += 100
        for command in commands:
            scheduler.fold(Ended(command.job_id, 1, now, EndReason.SUCCEEDED))
    assert len(order) == 48
    assert sorted(job_id[0] for job_id in order[:16]) == ["a"] * 8 + ["b"] * 8, "half and half"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3))
def test_a_gang_that_power_keeps_back_is_not_passed_for_ever(small_units: int, per_round: int) -> None:
    net = network([("a", "p", "H100", 4, 8, 4)], connection_mw=0.027)
    scheduler = Scheduler(net, EASY)
    live: list[str] = []
    came = 0

    def arrive(count: int, now: int) -> None:
        nonlocal came
        for _ in range(count):
            fields = {"per_worker": small_units, "accelerators": ("H100",), "estimate_s": 60}
            scheduler.fold(Submitted(f"{came:03}", now, **fields))  # type: ignore[arg-type]
            came += 1
        live.extend(command.job_id for command in scheduler.decide(now))

    arrive(8, now=0)
    scheduler.fold(Submitted("gang", 0, workers=2, per_worker=8, accelerators=("H100",), estimate_s=60))
    for ended in range(100):
        arrive(per_round, now=20 * ended)
        if "gang" in live:
            break
        scheduler.fold(Ended(live.pop(0), 1, 20 * (ended + 1), EndReason.SUCCEEDED))
    assert "gang" in live
    assert ended <= 20, "what ran before it, and what was let past while it had no room, and no more"


def test_a_gang_that_no_power_would_start_keeps_nobody_back() -> None:
    net = network([("a", "p", "H100", 4, 8, 4)], connection_mw=0.02)
    scheduler = Scheduler(net, EASY)
    scheduler.fold(Submitted("never", 0, workers=4, per_worker=8, accelerators=("H100",), estimate_s=60))
    scheduler.fold(Submitted("small", 0, accelerators=("H100",), estimate_s=60))
    assert [command.job_id for command in scheduler.decide(0)] == ["small"]
