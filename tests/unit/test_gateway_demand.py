"""What is asked of an endpoint: under way, and turned away a moment ago."""

from __future__ import annotations

import pytest

from maillage.scheduling.replicas import ReplicaDemand, ReplicaPolicy, first_count, next_count
from maillage.serving.demand import RECENT_S, Demand


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_what_is_under_way_is_counted_until_it_is_over() -> None:
    demand = Demand()
    with demand.under_way("chat"), demand.under_way("chat"), demand.under_way("other"):
        assert demand.of("chat") == ReplicaDemand(in_flight=2)
        with pytest.raises(KeyError), demand.under_way("chat"):
            raise KeyError
        assert demand.of("chat") == ReplicaDemand(in_flight=2)
    assert demand.of("chat") == ReplicaDemand()


def test_who_was_turned_away_counts_until_they_would_be_back() -> None:
    clock = Clock()
    demand = Demand(clock)
    demand.turned_away("chat")
    clock.now_s = 1.0
    demand.turned_away("chat")
    assert demand.of("chat") == ReplicaDemand(queued=2)
    assert demand.of("other") == ReplicaDemand()
    clock.now_s = RECENT_S + 0.5
    assert demand.of("chat") == ReplicaDemand(queued=1)
    clock.now_s = 10.0
    assert demand.of("chat") == ReplicaDemand()


def test_an_endpoint_asleep_wakes_for_one_who_was_turned_away() -> None:
    demand, policy = Demand(), ReplicaPolicy(replicas_min=0, replicas_max=2)
    demand.turned_away("chat")
    assert next_count(policy, first_count(policy), demand.of("chat"), now_s=0).wanted == 1
