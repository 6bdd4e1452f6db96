"""Why a job waits: the first constraint that binds, with numbers, and when it will start."""

from __future__ import annotations

from maillage.scheduling.explain import why
from maillage.scheduling.messages import Ended, LimitChanged, NodesDown, SiteClosed, Start
from maillage.scheduling.policy import EASY
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.lifecycle import EndReason
from tests.laws.test_scheduler_laws import network
from tests.unit.test_placement import ask

ONE = network([("paris", "h100", "H100", 2, 8, 2)])


def full() -> Scheduler:
    scheduler = Scheduler(ONE, EASY)
    scheduler.fold(ask("first", 1, 8, estimate_s=100))
    scheduler.fold(ask("second", 1, 4, estimate_s=500))
    scheduler.decide(0)
    return scheduler


def test_no_room_tells_what_is_free_and_when_it_starts() -> None:
    scheduler = full()
    scheduler.fold(ask("third", 2, 8, estimate_s=50))
    scheduler.decide(1)
    answer = why(scheduler, "third", 1)
    assert answer.reason == "no_room"
    assert "2 worker(s) of 8 H100 asked for, 0 fit now (4 of 16 H100 free)" in answer.detail
    assert "first in its line" in answer.detail
    assert "2 more worker(s) of 8 H100" in answer.mend
    assert answer.expected_start_s == 500


def test_room_that_is_kept_for_another_is_told_with_its_name() -> None:
    scheduler = full()
    scheduler.fold(ask("third", 2, 8, estimate_s=50))
    scheduler.fold(ask("fourth", 1, 4, estimate_s=1000))
    scheduler.decide(1)
    answer = why(scheduler, "fourth", 1)
    assert answer.reason == "reserved"
    assert "kept for job third" in answer.detail
    assert "1 job(s) of its line stand before it" in answer.detail
    assert answer.expected_start_s == 550


def test_the_forecast_is_what_then_happens() -> None:
    scheduler = full()
    scheduler.fold(ask("third", 2, 8, estimate_s=50))
    scheduler.decide(1)
    expected_s = why(scheduler, "third", 1).expected_start_s
    scheduler.fold(Ended("first", 1, 100, EndReason.SUCCEEDED))
    assert scheduler.decide(100) == ()
    scheduler.fold(Ended("second", 1, 500, EndReason.SUCCEEDED))
    (started,) = scheduler.decide(500)
    assert isinstance(started, Start)
    assert expected_s == 500


def test_closed_sites_lost_nodes_limits_and_forerunners() -> None:
    scheduler = Scheduler(ONE, EASY)
    scheduler.fold(SiteClosed("paris", 0))
    scheduler.fold(ask("a", 1, 8))
    scheduler.fold(ask("b", 1, 8, after=("a",)))
    scheduler.decide(0)
    assert why(scheduler, "a", 0).reason == "site_closed"
    assert why(scheduler, "a", 0).mend == "maillage site resume paris"
    assert why(scheduler, "b", 0).detail.endswith("a")

    scheduler = Scheduler(ONE, EASY)
    scheduler.fold(NodesDown("paris", "h100", (0,), 0))
    scheduler.fold(ask("a", 2, 8))
    scheduler.decide(0)
    answer = why(scheduler, "a", 0)
    assert answer.reason == "nodes_down"
    assert "1 of 2 nodes are up and hold 1 of 2 workers" in answer.detail

    scheduler = Scheduler(ONE, EASY)
    scheduler.fold(LimitChanged("paris", 0, limit_kw=10.0))
    scheduler.fold(ask("a", 2, 8))
    scheduler.decide(0)
    answer = why(scheduler, "a", 0)
    assert answer.reason == "power_limit"
    assert "kW of IT power above what its limit leaves" in answer.detail


def test_live_and_unknown_jobs() -> None:
    scheduler = full()
    assert why(scheduler, "first", 0).reason == "runs"
    assert why(scheduler, "nobody", 0).reason == "unknown"
