"""Preemption of flexible work for a blocked job of a higher class.

Victims are chosen in memory, latest estimated end first, until the blocked job fits; then every
victim that proves not to be needed is let go. Work already told to stop counts as room first. A
flexible job never preempts, so a victim that comes back cannot take its place again: no loop.
"""

from __future__ import annotations

from maillage.scheduling.kernel.command import say
from maillage.scheduling.kernel.compilation import compiled
from maillage.scheduling.kernel.fold import stop_live
from maillage.scheduling.kernel.layout import CLASSES, LIVE, NONE, PREEMPTED, STOP, STOPPING, State


@compiled
def gain(state: State, job: int, units: int, sign: int, stamp: int) -> int:
    """Workers of `units` that freeing (`sign` 1) or keeping again (-1) a job's nodes would add."""
    workers = 0
    index = state.jobs[job].entries
    while index != NONE:
        entry = state.entries[index]
        node = state.nodes[entry.node]
        if node.stamp != stamp:
            node.stamp = stamp
            node.extra = 0
        have = node.free + node.extra
        if node.up:
            workers += (have + sign * entry.units) // units - have // units
        node.extra += sign * entry.units
        index = entry.after
    return workers


@compiled
def victims_for(state: State, pool: int, units: int, missing: int) -> int:
    """Fill `victims` with flexible jobs to stop so that `missing` workers fit. Returns how many.

    0: what is already stopping is enough; NONE: it would not help.
    """
    core = state.core[0]
    core.stamp += 1
    count = 0
    line = state.lines[state.pools[pool].line]
    for status in (STOPPING, LIVE):
        block = line.last
        while block != NONE and missing > 0:
            for i in range(state.blocks[block].rows - 1, -1, -1):
                job = state.rows[block, i]
                this = state.jobs[job]
                if missing <= 0 or this.status != status:
                    continue
                if status == LIVE and this.job_class != CLASSES - 1:
                    continue
                missing -= gain(state, job, units, 1, core.stamp)
                if status == LIVE:
                    state.victims[count] = job
                    count += 1
            block = state.blocks[block].before
    if missing > 0:
        return NONE
    kept = 0
    for i in range(count):
        job = state.victims[i]
        lost = -gain(state, job, units, -1, core.stamp)
        if missing + lost <= 0:
            missing += lost
        else:
            gain(state, job, units, 1, core.stamp)
            state.victims[kept] = job
            kept += 1
    return kept


@compiled
def preempt(state: State, job: int, now_s: int) -> None:
    """Stop the fewest flexible jobs of one pool that let a blocked job start there."""
    this = state.jobs[job]
    ask = state.asks[this.ask]
    if this.job_class == CLASSES - 1:
        return
    best, best_count = NONE, 0
    for c in range(ask.first, ask.first + ask.choices):
        one = state.shapes[state.choices[c]]
        pool = state.pools[one.pool]
        if state.sites[pool.site].closed or one.room >= this.workers or pool.head != NONE:
            continue
        count = victims_for(state, one.pool, one.units, this.workers - one.room)
        if count == 0:
            return
        if count > 0 and (best == NONE or count < best_count):
            best, best_count = state.choices[c], count
    if best == NONE:
        return
    one = state.shapes[best]
    count = victims_for(state, one.pool, one.units, this.workers - one.room)
    for i in range(count):
        say(state, STOP, state.victims[i], PREEMPTED)
        stop_live(state, state.victims[i], now_s)
