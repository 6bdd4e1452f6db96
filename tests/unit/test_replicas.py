"""The replica count: bounds, patience both ways, and no swinging."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maillage.errors import Invalid
from maillage.scheduling.replicas import (
    ReplicaCount,
    ReplicaDemand,
    ReplicaPolicy,
    first_count,
    next_count,
)

POLICY = ReplicaPolicy(replicas_min=1, replicas_max=4, target_in_flight=4, grow_after_s=5, shrink_after_s=60)


def follow(policy: ReplicaPolicy, demands: list[tuple[int, int]]) -> list[int]:
    """Wanted counts at each (now_s, in flight)."""
    count, wanted = first_count(policy), []
    for now_s, in_flight in demands:
        count = next_count(policy, count, ReplicaDemand(in_flight=in_flight), now_s)
        wanted.append(count.wanted)
    return wanted


def test_grows_to_what_the_load_needs_once_it_lasted() -> None:
    assert follow(POLICY, [(0, 11), (4, 11), (5, 11), (6, 11)]) == [1, 1, 3, 3]


def test_a_short_burst_changes_nothing() -> None:
    assert follow(POLICY, [(0, 11), (3, 2), (5, 11), (9, 11)]) == [1, 1, 1, 1]


def test_shrinks_by_one_after_each_quiet_while() -> None:
    count = ReplicaCount(3)
    seen = []
    for now_s in range(0, 200, 20):
        count = next_count(POLICY, count, ReplicaDemand(in_flight=0), now_s)
        seen.append(count.wanted)
    assert seen == [3, 3, 3, 2, 2, 2, 2, 1, 1, 1]


def test_does_not_shrink_when_the_rest_would_be_nearly_full() -> None:
    count = ReplicaCount(2)
    for now_s in range(0, 600, 30):
        count = next_count(POLICY, count, ReplicaDemand(in_flight=3), now_s)
    assert count.wanted == 2


def test_from_zero_it_grows_at_once_for_a_waiting_request() -> None:
    policy = ReplicaPolicy(replicas_min=0, replicas_max=2)
    assert next_count(policy, first_count(policy), ReplicaDemand(), 0).wanted == 0
    assert next_count(policy, first_count(policy), ReplicaDemand(queued=1), 0).wanted == 1


def test_to_zero_only_when_nothing_is_under_way() -> None:
    policy = ReplicaPolicy(replicas_min=0, replicas_max=2, shrink_after_s=10)
    count = ReplicaCount(1)
    for now_s in range(0, 100, 5):
        count = next_count(policy, count, ReplicaDemand(in_flight=1), now_s)
    assert count.wanted == 1
    for now_s in range(100, 115, 5):
        count = next_count(policy, count, ReplicaDemand(), now_s)
    assert count.wanted == 0


def test_new_bounds_are_obeyed_at_once() -> None:
    assert next_count(POLICY, ReplicaCount(9), ReplicaDemand(in_flight=99), 0).wanted == 4
    assert next_count(POLICY, ReplicaCount(0), ReplicaDemand(), 0).wanted == 1


@pytest.mark.parametrize("bounds", [(-1, 1), (2, 1), (0, 0)])
def test_impossible_bounds_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(Invalid, match="min"):
        ReplicaPolicy(replicas_min=bounds[0], replicas_max=bounds[1])


@pytest.mark.parametrize("wrong", [{"target_in_flight": 0}, {"spare_percent": 100}])
def test_impossible_targets_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Invalid, match="must be"):
        ReplicaPolicy(replicas_min=0, replicas_max=1, **wrong)


@given(
    bounds=st.tuples(st.integers(0, 5), st.integers(1, 8)),
    loads=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 60)), max_size=40),
)
def test_never_outside_the_bounds(bounds: tuple[int, int], loads: list[tuple[int, int]]) -> None:
    policy = ReplicaPolicy(replicas_min=min(bounds), replicas_max=max(bounds))
    count, now_s = first_count(policy), 0
    for step_s, in_flight in loads:
        now_s += step_s
        count = next_count(policy, count, ReplicaDemand(in_flight=in_flight), now_s)
        assert policy.replicas_min <= count.wanted <= policy.replicas_max


@given(load=st.integers(0, 100), start=st.integers(0, 8))
def test_a_steady_load_settles_and_stays(load: int, start: int) -> None:
    """Progress: under a load that does not change, the count reaches enough and then never moves."""
    policy = ReplicaPolicy(replicas_min=0, replicas_max=8, grow_after_s=5, shrink_after_s=30)
    count, counts = ReplicaCount(start), []
    for now_s in range(0, 600, 5):
        count = next_count(policy, count, ReplicaDemand(in_flight=load), now_s)
        counts.append(count.wanted)
    assert len(set(counts[-20:])) == 1
    assert count.wanted >= min(-(-load // policy.target_in_flight), 8)
