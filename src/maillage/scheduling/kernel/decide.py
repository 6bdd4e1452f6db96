"""One decision: what starts now, and where; what must stop for it; who holds a reservation.

A pass looks at waiting jobs in order. It looks at all of them only if room may have grown or the
first in a line has changed; otherwise jobs that were refused before would be refused again, and
only fresh ones are looked at. A job starts where its score is best among the pools that take it.
"""

from __future__ import annotations

from maillage.scheduling.kernel.backfill import cancel_reservation, relist_reserved, reserve
from maillage.scheduling.kernel.command import say
from maillage.scheduling.kernel.compilation import compiled, entry
from maillage.scheduling.kernel.fit import place
from maillage.scheduling.kernel.fold import begin, leave_fresh, tell_followers
from maillage.scheduling.kernel.layout import (
    BEFORE_FAILED,
    CANCELLED,
    DROP,
    FCFS,
    FOREVER,
    NONE,
    START,
    STOP,
    State,
)
from maillage.scheduling.kernel.line import goes_before
from maillage.scheduling.kernel.order import decay, fill_heap, sift_down, visited_before
from maillage.scheduling.kernel.shed import preempt

FRESH_MANY = 16
CARBON, PRICE = 1, 2  # what a job asks to optimise
CARBON_SCALE_G_PER_KWH = 100.0  # makes one point of score of a typical European grid's carbon
PRICE_SCALE_EUR_PER_MWH = 100.0
UNKNOWN_POINTS = 1e5  # a site of unknown carbon and price is no one's best: behind every known one,
SPREAD_POINTS = 1e6  # yet before one that has more of the group


@compiled
def allowed(state: State, shape: int, workers: int) -> bool:
    """Whether the shape's pool is open and its site's power limit holds with the gang."""
    one = state.shapes[shape]
    pool = state.pools[one.pool]
    site = state.sites[pool.site]
    if site.closed or pool.shut:
        return False
    return site.limit_mw < 0 or site.load_mw + workers * one.units * pool.unit_mw <= site.limit_mw


@compiled
def fits(state: State, shape: int, workers: int, end_s: int) -> int:
    """0 no; 1 beside the pool's reservation; 2 by using its room until the shadow."""
    one = state.shapes[shape]
    if one.fit >= workers:
        return 1
    if one.room >= workers and end_s <= state.pools[one.pool].shadow_s:
        return 2
    return 0


@compiled
def score(state: State, job: int, shape: int) -> float:
    """Lower is better: the job's own wish, else the policy's weights, over the site's signals now.

    Signals that are not known come after all that are.
    """
    core = state.core[0]
    this = state.jobs[job]
    site_index = state.pools[state.shapes[shape].pool].site
    site = state.sites[site_index]
    carbon, price = core.weight_carbon, core.weight_price
    if this.optimise == CARBON:
        carbon, price = 1.0, 0.0
    elif this.optimise == PRICE:
        carbon, price = 0.0, 1.0
    points = carbon * site.carbon / CARBON_SCALE_G_PER_KWH + price * site.price / PRICE_SCALE_EUR_PER_MWH
    if site.known == 0:
        points = UNKNOWN_POINTS
    if this.spread != NONE:
        points += SPREAD_POINTS * state.spread[this.spread, site_index]
    return points


@compiled
def try_start(state: State, job: int, now_s: int) -> bool:
    """Start a waiting job at its best pool, if any takes it now."""
    this = state.jobs[job]
    ask = state.asks[this.ask]
    end_s = FOREVER + 1 if this.estimate_s < 0 else now_s + this.estimate_s
    best, how, best_points, among = NONE, 0, 0.0, 0
    for c in range(ask.first, ask.first + ask.choices):
        shape = state.choices[c]
        way = fits(state, shape, this.workers, end_s)
        if way == 0 or not allowed(state, shape, this.workers):
            continue
        among += 1
        points = score(state, job, shape) if ask.choices > 1 else 0.0
        if best == NONE or points < best_points:
            best, how, best_points = shape, way, points
    if best == NONE:
        return False
    pool = state.shapes[best].pool
    outlives = end_s > state.pools[pool].shadow_s
    if how == 2:
        relist_reserved(state, pool, True)
    place(state, job, best, outlives, how == 2)
    if how == 2:
        relist_reserved(state, pool, False)
    begin(state, job, best, now_s)
    say(state, START, job, among)
    return True


@compiled
def block(state: State, job: int, now_s: int) -> None:
    """A job that cannot start: make room by preemption, and keep its place by a reservation."""
    core = state.core[0]
    if core.backfill == FCFS:
        ask = state.asks[state.jobs[job].ask]
        for c in range(ask.first, ask.first + ask.choices):
            pool = state.pools[state.shapes[state.choices[c]].pool]
            pool.shut = 1
    if may_preempt(state):
        preempt(state, job, now_s)
    if core.backfill != FCFS:
        reserve(state, job, now_s)


@compiled
def most_free(state: State) -> int:
    """The most units free in any pool that takes work: no job that needs more can start."""
    most = 0
    for p in range(state.core[0].pools):
        pool = state.pools[p]
        if pool.shut == 0 and state.sites[pool.site].closed == 0:
            most = max(most, pool.free_units)
    return most


@compiled
def may_preempt(state: State) -> bool:
    core = state.core[0]
    return core.preempt != 0 and core.flexible_live > 0


@compiled
def all_reserved(state: State) -> bool:
    """Whether a job that cannot start has nothing left to ask for.

    A pool with a reservation gives no other, and is not preempted in; nor is one whose site is closed.
    """
    open_to_all = may_preempt(state)
    for p in range(state.core[0].pools):
        pool = state.pools[p]
        if pool.head == NONE and not state.sites[pool.site].closed and (pool.shut == 0 or open_to_all):
            return False
    return True


@compiled
def after_cursor(state: State, line: int) -> tuple[int, int]:
    """Block and position behind the last job that this pass refused in a line."""
    cursor = state.lines[line].cursor
    if cursor == NONE:
        return state.lines[line].first, 0
    index = state.jobs[cursor].block
    at = 0
    while state.rows[index, at] != cursor:
        at += 1
    return index, at + 1


@compiled
def walk_line(state: State, line: int, now_s: int) -> bool:
    """Look at a waiting line from where this pass left it until something starts.

    Once every pool has its reservation, blocks of jobs in which nothing fits are skipped.
    """
    most = most_free(state)
    settled = all_reserved(state)
    index, at = after_cursor(state, line)
    while index != NONE:
        if most == 0 and (settled or not may_preempt(state)):
            return False
        this = state.blocks[index]
        while at < this.rows and not (settled and this.need > most):
            job = state.rows[index, at]
            if state.jobs[job].need <= most and try_start(state, job, now_s):
                return True
            state.lines[line].cursor = job
            if not settled:
                block(state, job, now_s)
                settled = all_reserved(state)
                most = most_free(state)
            at += 1
        index, at = this.after, 0
    return False


@compiled
def full_pass(state: State, now_s: int) -> None:
    core = state.core[0]
    for p in range(core.pools):
        state.pools[p].shut = 0
        if state.pools[p].head != NONE:
            cancel_reservation(state, p)
    waiting = fill_heap(state)
    for i in range(waiting):
        state.lines[state.heap[i]].cursor = NONE
    while waiting > 0:
        line = state.heap[0]
        if not walk_line(state, line, now_s) or state.lines[line].rows == 0:
            waiting -= 1
            state.heap[0] = state.heap[waiting]
        sift_down(state, 0, waiting)


@compiled
def seen_before(state: State, a: int, b: int) -> bool:
    """Whether a pass would look at waiting job `a` before `b`."""
    one, other = state.jobs[a].line, state.jobs[b].line
    return goes_before(state, a, b) if one == other else visited_before(state, one, other)


@compiled
def clear_fresh(state: State) -> None:
    core = state.core[0]
    while core.fresh != NONE:
        job = state.jobs[core.fresh]
        core.fresh = job.chain
        job.chain = NONE
        job.fresh = 0


@compiled
def look_at_fresh(state: State, now_s: int) -> None:
    """Only arrivals, none of them first in its line: what was refused before stays refused."""
    core = state.core[0]
    while core.fresh != NONE:
        first = core.fresh
        job = state.jobs[first].chain
        while job != NONE:
            if seen_before(state, job, first):
                first = job
            job = state.jobs[job].chain
        leave_fresh(state, first)
        if state.jobs[first].need > most_free(state) or not try_start(state, first, now_s):
            block(state, first, now_s)


@compiled
def many_fresh(state: State) -> bool:
    """Whether so many jobs arrived at once that a full pass is cheaper than sorting them."""
    job = state.core[0].fresh
    for _ in range(FRESH_MANY):
        if job == NONE:
            return False
        job = state.jobs[job].chain
    return True


@compiled
def drop_doomed(state: State) -> None:
    """Say of every job that is over before it ran, and of those after it, that they are."""
    core = state.core[0]
    while core.doomed != NONE:
        job = core.doomed
        core.doomed = state.jobs[job].chain
        state.jobs[job].chain = NONE
        say(state, DROP, job, CANCELLED if state.jobs[job].cancelled else BEFORE_FAILED)
        tell_followers(state, job, False)


@compiled
def stop_asked(state: State) -> None:
    """Tell the sites of the live jobs that people want stopped."""
    core = state.core[0]
    while core.to_stop != NONE:
        job = core.to_stop
        core.to_stop = state.jobs[job].chain
        say(state, STOP, job, state.jobs[job].stop_reason)
        state.jobs[job].chain = NONE
        state.jobs[job].stop_reason = 0


@entry
def decide(state: State, now_s: int) -> int:
    """Fill `commands`; the number of them is returned and stands in `core.commands`."""
    core = state.core[0]
    core.commands = 0
    decay(state, now_s)
    drop_doomed(state)
    stop_asked(state)
    if core.dirty or many_fresh(state):
        core.dirty = 0
        clear_fresh(state)
        full_pass(state, now_s)
    else:
        look_at_fresh(state, now_s)
    return core.commands
