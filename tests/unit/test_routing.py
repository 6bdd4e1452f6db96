"""Which replica is asked first, and which never."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from maillage.serving.routing import ready_replicas, route


@dataclass(frozen=True)
class One:
    run_id: str
    site: str = "paris"
    ready: bool = True
    address: str = "http://127.0.0.1:1"


def order(replicas: list[One], in_flight: dict[str, int] | None = None, **options) -> list[str]:
    return [one.run_id for one in route(replicas, in_flight or {}, **{"limit": 10} | options)]


def test_only_ready_replicas_with_an_address_are_asked() -> None:
    replicas = [One("a", ready=False), One("b", address=""), One("c")]
    assert order(replicas) == ["c"]
    assert [one.run_id for one in ready_replicas(replicas)] == ["c"]


def test_the_least_loaded_comes_first() -> None:
    assert order([One("a"), One("b"), One("c")], {"a": 2, "b": 1}) == ["c", "b", "a"]


def test_ties_go_to_the_cleaner_site_then_to_the_id() -> None:
    replicas = [One("d", "lille"), One("c", "lille"), One("b", "paris"), One("a", "paris")]
    carbon = {"paris": 40.0, "lille": 20.0}
    assert order(replicas, carbon_g_per_kwh=carbon.__getitem__) == ["c", "d", "a", "b"]


def test_a_replica_that_failed_a_moment_ago_comes_last_but_is_tried() -> None:
    assert order([One("a"), One("b")], {"b": 5}, suspects={"a"}) == ["b", "a"]


def test_a_full_replica_gets_nothing() -> None:
    assert order([One("a"), One("b")], {"a": 10, "b": 9}) == ["b"]
    assert order([One("a")], {"a": 10}) == []


@given(loads=st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 12), max_size=8))
def test_the_order_does_not_hang_on_the_order_of_asking(loads: dict[str, int]) -> None:
    replicas = [One(run_id) for run_id in loads]
    found = order(replicas, loads)
    assert found == order(replicas[::-1], loads)
    assert sorted(found) == sorted(run_id for run_id, load in loads.items() if load < 10)
    assert [loads[run_id] for run_id in found] == sorted(loads[run_id] for run_id in found)
