"""Where gangs go: the fullest node that takes a small job, the fewest fabric domains for a large one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillage.errors import Invalid
from maillage.network.model import Network
from maillage.scheduling.feasibility import check, choices
from maillage.scheduling.messages import (
    CancelRequested,
    Drop,
    Ended,
    NodesDown,
    SignalChanged,
    SiteClosed,
    Start,
    Submitted,
)
from maillage.scheduling.policy import DEFAULT, EASY
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.lifecycle import EndReason
from tests.laws.test_scheduler_laws import network

RACKS = network([("a", "p", "H100", 12, 4, 4)])  # three domains of four nodes of four


def ask(job_id: str, workers: int, per_worker: int, **fields: object) -> Submitted:
    job = Submitted(job_id, 0, workers=workers, per_worker=per_worker, accelerators=("H100",), estimate_s=60)
    return replace(job, **fields)  # type: ignore[arg-type]


def start(scheduler: Scheduler, job: Submitted) -> Start:
    scheduler.fold(job)
    (command,) = scheduler.decide(0)
    assert isinstance(command, Start)
    return command


def domains(command: Start, nodes_per_domain: int = 4) -> list[int]:
    return sorted({node // nodes_per_domain for node, _ in command.placement})


def test_a_small_job_goes_to_the_fullest_node_that_takes_it() -> None:
    scheduler = Scheduler(RACKS, EASY)
    three = start(scheduler, ask("three", 1, 3)).placement[0][0]
    two = start(scheduler, ask("two", 1, 2)).placement[0][0]
    assert two != three, "three of four are held: two more do not fit"
    assert start(scheduler, ask("one", 1, 1)).placement == ((three, 1),)
    assert start(scheduler, ask("pair", 2, 1)).placement == ((two, 2),)


def test_small_jobs_leave_whole_domains_free() -> None:
    scheduler = Scheduler(RACKS, EASY)
    first = [start(scheduler, ask(f"j{number}", 1, 4)) for number in range(4)]
    assert len({domain for command in first for domain in domains(command)}) == 1


def test_a_gang_takes_the_tightest_domain_that_holds_it() -> None:
    scheduler = Scheduler(RACKS, EASY)
    (busy,) = domains(start(scheduler, ask("small", 1, 4)))
    assert domains(start(scheduler, ask("gang of three", 3, 4))) == [busy]
    assert len(domains(start(scheduler, ask("gang of four", 4, 4)))) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=10), st.integers(1, 12))
def test_a_large_gang_takes_as_few_domains_as_can_be(before: list[tuple[int, bool]], wanted: int) -> None:
    """Whole nodes only: the fewest domains are those with most free nodes, taken largest first."""
    scheduler = Scheduler(RACKS, EASY)
    for number, (workers, ends) in enumerate(before):
        scheduler.fold(ask(f"j{number}", workers, 4))
        commands = scheduler.decide(0)
        if ends and commands:
            scheduler.fold(Ended(commands[0].job_id, 1, 0, EndReason.SUCCEEDED))
    scheduler.decide(0)
    free = sorted((int(domain.full) for domain in scheduler.state.domains), reverse=True)
    if sum(free) < wanted or scheduler.state.core[0].active:
        return
    fewest = next(count for count in range(1, 4) if sum(free[:count]) >= wanted)
    assert len(domains(start(scheduler, ask("gang", wanted, 4)))) == fewest


def test_more_memory_than_its_share_takes_more_units() -> None:
    pool = RACKS.pools[0]
    share_mib = pool.memory_mib_per_unit
    (choice,) = choices(RACKS, ask("fat", 1, 1, memory_mib_per_worker=share_mib * 2 + 1))
    assert choice.units == 3
    (choice,) = choices(RACKS, ask("busy", 1, 1, cpus_per_worker=13))
    assert choice.units == 2, "a unit's share is 12 CPUs"


def test_a_site_that_nobody_knows_is_told_even_beside_one_that_is_known() -> None:
    known = RACKS.sites[0].id
    with pytest.raises(Invalid, match=f"no site b; it has {known}"):
        check(RACKS, replace(ask("lost", 1, 1), sites=("b", known)))
    with pytest.raises(Invalid, match=r"site is not among those asked for \(paris\)"):
        check(TWO, replace(ask("big", 99, 1), sites=("paris",)))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"workers": 13, "per_worker": 4}, "holds at most 12 such workers, 13 asked for"),
        ({"per_worker": 5}, "a worker takes 5 H100 of one node, a node has 4"),
        ({"accelerators": ("MI300X",)}, "it has H100"),
        ({"countries": ("DE",)}, "lies in FR, residency asks for DE"),
        ({"memory_mib_per_worker": 10**7}, "GiB"),
    ],
)
def test_what_can_never_fit_is_told_with_what_would(fields: dict[str, object], told: str) -> None:
    with pytest.raises(Invalid, match="can never run on network laws") as trouble:
        check(RACKS, replace(ask("never", 1, 1), **fields))  # type: ignore[arg-type]
    assert told in str(trouble.value)


TWO = network([("paris", "h100", "H100", 2, 8, 2), ("lyon", "h100", "H100", 2, 8, 2)])


@pytest.mark.parametrize(("wish", "site"), [("carbon", "lyon"), ("price", "paris"), ("wait", "lyon")])
def test_the_site_is_chosen_by_what_the_job_asks_for_and_the_reason_says_so(wish: str, site: str) -> None:
    scheduler = Scheduler(TWO, DEFAULT)
    scheduler.fold(SignalChanged("paris", 0, carbon_g_per_kwh=60.0, price_eur_per_mwh=40.0, outdoor_c=10.0))
    scheduler.fold(SignalChanged("lyon", 0, carbon_g_per_kwh=20.0, price_eur_per_mwh=50.0, outdoor_c=10.0))
    command = start(scheduler, ask("j", 1, 8, optimise=wish))
    assert command.site == site
    assert "of 2 pools with room" in command.reason
    assert start(scheduler, ask("only", 1, 1, sites=("paris",))).reason == "the only pool with room"


def test_unknown_carbon_and_price_are_no_best_and_said_to_be_unknown() -> None:
    scheduler = Scheduler(TWO, DEFAULT)
    first = start(scheduler, ask("blind", 1, 1))
    assert (first.site, first.reason) == ("paris", "first of 2 pools with room: carbon and price unknown")
    scheduler.fold(SignalChanged("lyon", 0, carbon_g_per_kwh=900.0, price_eur_per_mwh=800.0, outdoor_c=10.0))
    for wish in ("carbon", "price", "wait"):
        known = start(scheduler, ask(wish, 1, 1, optimise=wish))
        assert known.site == "lyon", "its figures are bad, but known"
        assert "unknown" not in known.reason
    spread = [start(scheduler, ask(f"r{n}", 1, 1, spread="chat", estimate_s=0)).site for n in range(4)]
    assert sorted(spread) == ["lyon", "lyon", "paris", "paris"]


def test_a_kind_that_no_pool_has_is_told_with_the_kinds_there_are() -> None:
    with pytest.raises(Invalid, match=r"no pool of it has H200 or B200; it has H100$"):
        check(TWO, ask("never", 1, 1, accelerators=("H200", "B200")))


def test_replicas_of_one_endpoint_spread_over_sites() -> None:
    scheduler = Scheduler(TWO, DEFAULT)
    sites = [start(scheduler, ask(f"r{n}", 1, 1, spread="chat", estimate_s=0)).site for n in range(4)]
    assert sorted(sites) == ["lyon", "lyon", "paris", "paris"]


def test_jobs_after_a_failed_one_are_dropped_all_the_way_down() -> None:
    scheduler = Scheduler(TWO, DEFAULT)
    first = start(scheduler, ask("a", 1, 1))
    scheduler.fold(ask("b", 1, 1, after=("a",)))
    scheduler.fold(ask("c", 1, 1, after=("b",)))
    assert scheduler.decide(0) == ()
    scheduler.fold(Ended("a", first.attempt, 1, EndReason.COMMAND_NOT_FOUND))
    dropped = scheduler.decide(1)
    assert dropped == (Drop("b", EndReason.DEPENDENCY_FAILED), Drop("c", EndReason.DEPENDENCY_FAILED))
    assert not scheduler.row_of


@pytest.mark.parametrize("ending", [EndReason.SUCCEEDED, EndReason.COMMAND_NOT_FOUND])
def test_a_job_in_the_row_of_a_cancelled_one_does_not_inherit_what_it_waited_for(ending: EndReason) -> None:
    scheduler = Scheduler(TWO, DEFAULT)
    start(scheduler, ask("a", 1, 1))
    start(scheduler, ask("d", 1, 1))
    scheduler.fold(ask("b", 1, 1, after=("a",)))
    row = scheduler.row_of["b"]
    scheduler.fold(CancelRequested("b", 0))
    assert scheduler.decide(0) == (Drop("b", EndReason.CANCELLED),)
    scheduler.fold(ask("c", 1, 1, after=("d",)))
    assert scheduler.row_of["c"] == row, "the row is used again"
    scheduler.fold(Ended("a", 1, 1, ending))
    assert scheduler.decide(1) == (), "c waits for d, whatever becomes of a"
    scheduler.fold(Ended("d", 1, 2, EndReason.SUCCEEDED))
    assert [command.job_id for command in scheduler.decide(2)] == ["c"]


def test_lost_nodes_and_drained_sites_take_nothing() -> None:
    scheduler = Scheduler(TWO, DEFAULT)
    scheduler.fold(SiteClosed("lyon", 0))
    scheduler.fold(NodesDown("paris", "h100", (0,), 0))
    assert start(scheduler, ask("j", 1, 8)).placement == ((1, 1),)
    scheduler.fold(ask("k", 1, 8))
    assert scheduler.decide(0) == ()


def test_arrays_grow_without_loss() -> None:
    """More jobs, organisations, asks and dependencies than the first arrays hold."""
    net: Network = network([("a", "p", "H100", 4, 8, 4)])
    scheduler = Scheduler(net, DEFAULT)
    live: dict[str, Start] = {}
    for number in range(3000):
        before = (f"j{number - 1}",) if number % 3 == 2 else ()
        fields = {"org": f"o{number % 50}", "after": before, "memory_mib_per_worker": 1 + number % 300}
        scheduler.fold(ask(f"j{number}", 1 + number % 4, 1 + number % 8, **fields))
    done = 0
    while commands := scheduler.decide(0):
        live |= {command.job_id: command for command in commands if isinstance(command, Start)}
        for job_id, command in list(live.items()):
            scheduler.fold(Ended(job_id, command.attempt, 0, EndReason.SUCCEEDED))
            del live[job_id]
            done += 1
    assert done == 3000
    assert not scheduler.row_of
