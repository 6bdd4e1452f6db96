"""How many replicas an endpoint should have: pure, and in its first form.

The load is what the endpoint's users have under way. A replica is meant to carry `target_in_flight`
requests at once. The count grows when the load asked for more during `grow_after_s`, and shrinks by
one when fewer replicas would carry it with room to spare during `shrink_after_s`: growing too late
costs the users time, shrinking too early costs them a model load. Latency objectives, rates and
forecasts do not enter yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from maillage.errors import Invalid


@dataclass(frozen=True, slots=True)
class ReplicaPolicy:
    """Bounds and patience. `spare_percent`: share of the target that must stay free after a shrink."""

    replicas_min: int
    replicas_max: int
    target_in_flight: int = 4
    grow_after_s: int = 5
    shrink_after_s: int = 120
    spare_percent: int = 30

    def __post_init__(self) -> None:
        if not 0 <= self.replicas_min <= self.replicas_max or self.replicas_max < 1:
            raise Invalid(
                f"replicas: min {self.replicas_min}, max {self.replicas_max}; need 0 <= min <= max, max >= 1"
            )
        if self.target_in_flight < 1:
            raise Invalid(f"target_in_flight is {self.target_in_flight}; it must be at least 1")
        if not 0 <= self.spare_percent < 100:
            raise Invalid(f"spare_percent is {self.spare_percent}; it must be from 0 to 99")


@dataclass(frozen=True, slots=True)
class ReplicaDemand:
    """What is asked of an endpoint now: requests at its replicas, and requests that found none free."""

    in_flight: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaCount:
    """The count that is wanted, and since when (whole seconds) the load has asked for another one."""

    wanted: int
    short_since_s: int | None = None
    idle_since_s: int | None = None


def first_count(policy: ReplicaPolicy) -> ReplicaCount:
    """Where an endpoint begins: at its minimum."""
    return ReplicaCount(policy.replicas_min)


def replicas_for(load: int, per_replica: int) -> int:
    """Replicas that carry `load` requests at `per_replica` each, rounded up.

    >>> replicas_for(9, 4)
    3
    """
    return -(-load // per_replica)


def next_count(policy: ReplicaPolicy, count: ReplicaCount, demand: ReplicaDemand, now_s: int) -> ReplicaCount:
    """The count after looking at the demand at `now_s`. Call it each second or so.

    With no replica wanted and a request waiting it grows at once: nobody would be served meanwhile.

    >>> policy = ReplicaPolicy(replicas_min=1, replicas_max=3, target_in_flight=4, grow_after_s=5)
    >>> first = next_count(policy, first_count(policy), ReplicaDemand(in_flight=6), now_s=100)
    >>> first.wanted, next_count(policy, first, ReplicaDemand(in_flight=6), now_s=105).wanted
    (1, 2)
    """
    inside = min(max(count.wanted, policy.replicas_min), policy.replicas_max)
    if inside != count.wanted:  # the bounds were changed by a person: obey, and begin to watch again
        count = ReplicaCount(inside)
    load = demand.in_flight + demand.queued
    needed = min(max(replicas_for(load, policy.target_in_flight), policy.replicas_min), policy.replicas_max)
    if needed > count.wanted:
        since_s = now_s if count.short_since_s is None else count.short_since_s
        if count.wanted == 0 or now_s - since_s >= policy.grow_after_s:
            return ReplicaCount(needed)
        return ReplicaCount(count.wanted, short_since_s=since_s)
    fewer = count.wanted - 1
    room_percent = fewer * policy.target_in_flight * (100 - policy.spare_percent)
    if fewer < policy.replicas_min or load * 100 > room_percent:
        return ReplicaCount(count.wanted)
    since_s = now_s if count.idle_since_s is None else count.idle_since_s
    if now_s - since_s >= policy.shrink_after_s:
        return ReplicaCount(fewer)
    return replace(count, short_since_s=None, idle_since_s=since_s)
