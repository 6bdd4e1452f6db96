"""EASY: the reservation of a blocked job, and what may still start around it.

The *shadow* is the earliest instant at which, by the running jobs' estimated ends, the blocked job
fits. Its workers are then laid on concrete nodes: those being released, then those free now, and only
then those of jobs that are overdue, since nobody knows when these end. On each such node
work that outlives the shadow may take only what the reservation leaves (`past`); work that ends by
the shadow may take anything. So the head never starts later than its shadow.
"""

from __future__ import annotations

from maillage.scheduling.kernel.compilation import compiled
from maillage.scheduling.kernel.fit import relist
from maillage.scheduling.kernel.layout import FOREVER, NONE, UNBOUND, State


@compiled
def release_until(state: State, pool: int, units: int, missing: int, until_s: int, now_s: int) -> int:
    """Walk the pool's estimated ends until `missing` more workers of `units` fit.

    Returns the instant (FOREVER if never, or later than `until_s`). Leaves in each node touched
    its `extra` units, marked with the walk's stamp. All that end at the instant count.
    """
    core = state.core[0]
    core.stamp += 1
    stamp = core.stamp
    at_s = FOREVER
    block = state.lines[state.pools[pool].line].first
    while block != NONE:
        for i in range(state.blocks[block].rows):
            job = state.jobs[state.rows[block, i]]
            end_s = max(job.end_s, now_s)
            if end_s >= FOREVER or end_s > until_s or (missing <= 0 and end_s > at_s):
                return at_s if missing <= 0 else FOREVER
            index = job.entries
            while index != NONE:
                entry = state.entries[index]
                node = state.nodes[entry.node]
                if node.stamp != stamp:
                    node.stamp = stamp
                    node.extra = 0
                if node.up:
                    have = node.free + node.extra
                    missing -= (have + entry.units) // units - have // units
                node.extra += entry.units
                index = entry.after
            at_s = end_s
        block = state.blocks[block].after
    return at_s if missing <= 0 else FOREVER


@compiled
def bind(state: State, pool: int, node: int, workers: int, units: int, free: int) -> int:
    """Reserve room for up to `workers` on a node that will have `free` units. Returns the rest."""
    core = state.core[0]
    here = min(workers, free // units)
    if here == 0:
        return workers
    index = core.entry_free
    entry = state.entries[index]
    core.entry_free = entry.after
    entry.node = node
    entry.workers = here
    entry.units = free - here * units
    entry.after = state.pools[pool].reserved
    state.pools[pool].reserved = index
    return workers - here


@compiled
def bind_released(
    state: State, pool: int, workers: int, units: int, until_s: int, now_s: int, overdue: bool
) -> int:
    """Reserve on the nodes that the last walk released. Returns the workers still to lay.

    `overdue`: those of jobs that should have ended already, else those of jobs that have not.
    """
    stamp = state.core[0].stamp
    block = state.lines[state.pools[pool].line].first
    while block != NONE and workers > 0:
        for i in range(state.blocks[block].rows):
            job = state.jobs[state.rows[block, i]]
            if workers == 0 or max(job.end_s, now_s) > until_s:
                return workers
            if (job.end_s <= now_s) != overdue:
                continue
            index = job.entries
            while index != NONE and workers > 0:
                entry = state.entries[index]
                node = state.nodes[entry.node]
                if node.stamp == stamp and node.up:
                    workers = bind(state, pool, entry.node, workers, units, node.free + node.extra)
                    node.stamp = -stamp
                index = entry.after
        block = state.blocks[block].after
    return workers


@compiled
def bind_free(state: State, pool: int, workers: int, units: int) -> int:
    """Reserve on nodes that are free now and were not released by the last walk. Returns the rest."""
    stamp = state.core[0].stamp
    this = state.pools[pool]
    for full in range(this.shelf_last, 0, -1):
        domain = state.shelves[this.shelf_first + full]
        while domain != NONE and workers > 0:
            node = state.domains[domain].head
            while node != NONE and workers > 0:
                if abs(state.nodes[node].stamp) != stamp:
                    workers = bind(state, pool, node, workers, units, this.units)
                node = state.nodes[node].after
            domain = state.domains[domain].after
    for k in range(this.units - 1, units - 1, -1):
        if workers == 0:
            return 0
        node = state.buckets[this.bucket_first + k]
        while node != NONE and workers > 0:
            if abs(state.nodes[node].stamp) != stamp:
                workers = bind(state, pool, node, workers, units, k)
            node = state.nodes[node].after
    return workers


@compiled
def keep_power(state: State, site: int) -> None:
    """Start nothing more at a site in this pass, so that power gathers for a blocked job."""
    for p in range(state.core[0].pools):
        if state.pools[p].site == site:
            state.pools[p].shut = 1


@compiled
def could_power(state: State, shape: int, workers: int) -> bool:
    """Whether the site's limit would hold the gang alone: if not, it is not worth waiting for."""
    one = state.shapes[shape]
    pool = state.pools[one.pool]
    site = state.sites[pool.site]
    return site.idle_mw + workers * one.units * pool.unit_mw <= site.limit_mw


@compiled
def reserve(state: State, job: int, now_s: int) -> None:
    """Give a blocked job the earliest reservation among its pools that have none yet.

    A job that only power keeps from starting has its site wait for it where it has no reservation
    elsewhere: power is not promised at an instant, so nothing passes such a job.
    """
    this = state.jobs[job]
    ask = state.asks[this.ask]
    best, best_s, dark = NONE, FOREVER, NONE
    for c in range(ask.first, ask.first + ask.choices):
        shape = state.choices[c]
        one = state.shapes[shape]
        pool = state.pools[one.pool]
        if pool.head != NONE or pool.shut or state.sites[pool.site].closed:
            continue
        if one.room >= this.workers:
            if dark == NONE and could_power(state, shape, this.workers):
                dark = pool.site
            continue
        missing = this.workers - one.room
        at_s = release_until(state, one.pool, one.units, missing, best_s - 1, now_s)
        if at_s < best_s:
            best, best_s = shape, at_s
    if best == NONE:
        if dark != NONE:
            keep_power(state, dark)
        return
    one = state.shapes[best]
    pool = state.pools[one.pool]
    release_until(state, one.pool, one.units, this.workers - one.room, best_s, now_s)
    pool.head = job
    pool.shadow_s = best_s
    left = bind_released(state, one.pool, this.workers, one.units, best_s, now_s, False)
    left = bind_free(state, one.pool, left, one.units)
    bind_released(state, one.pool, left, one.units, best_s, now_s, True)
    index = pool.reserved
    while index != NONE:
        entry = state.entries[index]
        state.nodes[entry.node].past = entry.units
        relist(state, entry.node, False)
        index = entry.after


@compiled
def relist_reserved(state: State, pool: int, lifted: bool) -> None:
    """Show (`lifted`) or hide what the pool's reservation needs of the units free now."""
    index = state.pools[pool].reserved
    while index != NONE:
        entry = state.entries[index]
        relist(state, entry.node, lifted)
        index = entry.after


@compiled
def cancel_reservation(state: State, pool: int) -> None:
    core = state.core[0]
    this = state.pools[pool]
    index = this.reserved
    while index != NONE:
        entry = state.entries[index]
        state.nodes[entry.node].past = UNBOUND
        relist(state, entry.node, False)
        after = entry.after
        entry.after = core.entry_free
        core.entry_free = index
        index = after
    this.reserved = NONE
    this.head = NONE
    this.shadow_s = FOREVER
