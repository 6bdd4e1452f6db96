"""Who is looked at next: classes in order, then organisations by share, then age.

Waiting lines are one for each class and organisation (one for each class where the policy is not
fair). A small heap visits them by (class, usage / weight, line). Usage is unit-seconds, decayed by
half-life; a start puts its estimate on the organisation at once, its end corrects it.
"""

from __future__ import annotations

from maillage.scheduling.kernel.compilation import compiled
from maillage.scheduling.kernel.layout import CLASSES, FOREVER, State

ENDLESS_CHARGE_S = 86_400  # what a job with no end is put on its organisation for, at start


@compiled
def share(state: State, line: int) -> float:
    core = state.core[0]
    if core.fair == 0:
        return 0.0
    org = state.orgs[(line - core.pools) // CLASSES]
    return org.usage / org.weight


@compiled
def visited_before(state: State, a: int, b: int) -> bool:
    pools = state.core[0].pools
    class_a, class_b = (a - pools) % CLASSES, (b - pools) % CLASSES
    if class_a != class_b:
        return class_a < class_b
    one, other = share(state, a), share(state, b)
    if one != other:
        return one < other
    return a < b


@compiled
def sift_down(state: State, at: int, count: int) -> None:
    heap = state.heap
    while True:
        least = at
        for child in (2 * at + 1, 2 * at + 2):
            if child < count and visited_before(state, heap[child], heap[least]):
                least = child
        if least == at:
            return
        heap[at], heap[least] = heap[least], heap[at]
        at = least


@compiled
def fill_heap(state: State) -> int:
    """All waiting lines that are not empty, as a heap. Returns how many."""
    count = state.core[0].active
    for i in range(count):
        state.heap[i] = state.active[i]
    for at in range(count // 2 - 1, -1, -1):
        sift_down(state, at, count)
    return count


@compiled
def decay(state: State, now_s: int) -> None:
    """Let usage fade, in whole periods, so that replay gives the same figures."""
    core = state.core[0]
    if core.fair == 0 or core.decay_period_s <= 0:
        return
    if core.decay_at_s == 0:
        core.decay_at_s = now_s + core.decay_period_s
    periods = (now_s - core.decay_at_s) // core.decay_period_s + 1
    if now_s < core.decay_at_s or periods <= 0:
        return
    core.decay_at_s += periods * core.decay_period_s
    factor = core.decay_factor ** min(periods, 100_000)
    for org in range(core.orgs):
        state.orgs[org].usage *= factor


@compiled
def charge_s(estimate_s: int) -> int:
    return ENDLESS_CHARGE_S if estimate_s < 0 or estimate_s >= FOREVER else estimate_s
