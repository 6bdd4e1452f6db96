"""What fits, kept up to date node by node, and where a gang goes.

A *shape* is "so many units for one worker in this pool". For each shape the core keeps how many
workers fit now (`room`), and how many fit without touching what the pool's reservation needs
(`fit`). A node's two counts follow from `free` and `past`; `relist` is the only place that changes
either.
"""

from __future__ import annotations

from maillage.scheduling.kernel.buckets import enlist, highest_at_most, lowest_at_least, unlist
from maillage.scheduling.kernel.compilation import compiled, entry
from maillage.scheduling.kernel.layout import NONE, UNBOUND, State


@compiled
def relist(state: State, node: int, lifted: bool) -> None:
    """Bring lists and counts in line with a node's `free`, `past` and `up`.

    `lifted`: list the node by all its free units, as if nothing were reserved.
    """
    this = state.nodes[node]
    room = this.free if this.up else 0
    fit = min(room, this.past)
    listed = room if lifted else fit
    if listed != this.seen:
        unlist(state, node)
        enlist(state, node, listed)
    if room != this.room or fit != this.counted:
        pool = state.pools[this.pool]
        pool.free_units += room - this.room
        shape = pool.shape_first
        while shape != NONE:
            one = state.shapes[shape]
            units = one.units
            one.room += room // units - this.room // units
            one.fit += fit // units - this.counted // units
            shape = one.after
        this.room = room
        this.counted = fit


@entry
def add_shape(state: State, shape: int, pool: int, units: int) -> None:
    """Begin to count a shape: one look at every node of the pool."""
    one = state.shapes[shape]
    this = state.pools[pool]
    one.pool = pool
    one.units = units
    one.room = 0
    one.fit = 0
    for node in range(this.node_first, this.node_first + this.nodes):
        one.room += state.nodes[node].room // units
        one.fit += state.nodes[node].counted // units
    one.after = this.shape_first
    this.shape_first = shape


@compiled
def hold(state: State, job: int, node: int, workers: int, units: int, outlives: bool, lifted: bool) -> None:
    """Give `workers` of a job their units on a node, and write the entry."""
    core = state.core[0]
    this = state.nodes[node]
    taken = workers * units
    this.free -= taken
    if outlives and this.past < UNBOUND:
        this.past -= taken
    relist(state, node, lifted)
    index = core.entry_free
    entry = state.entries[index]
    core.entry_free = entry.after
    entry.node = node
    entry.workers = workers
    entry.units = taken
    entry.after = state.jobs[job].entries
    state.jobs[job].entries = index


@compiled
def one_node(state: State, pool: int, units: int) -> int:
    """The node with the fewest free units that still has `units`, or NONE."""
    this = state.pools[pool]
    k = lowest_at_least(state.bits, this.bits_first, units, this.units - 1)
    if k != NONE:
        return state.buckets[this.bucket_first + k]
    full = lowest_at_least(state.shelf_bits, this.shelf_bits_first, 1, this.shelf_last)
    if full == NONE:
        return NONE
    return state.domains[state.shelves[this.shelf_first + full]].head


@compiled
def fullest_partial(state: State, pool: int, units: int) -> int:
    """A partly free node with the most free units, at least `units`, or NONE."""
    this = state.pools[pool]
    k = highest_at_most(state.bits, this.bits_first, this.units - 1)
    if k == NONE or k < units:
        return NONE
    return state.buckets[this.bucket_first + k]


@compiled
def place(state: State, job: int, shape: int, outlives: bool, lifted: bool) -> None:
    """Hold nodes for a gang that is known to fit, in as few fabric domains as can be.

    A gang that fits one node goes to the fullest such node. A larger one takes wholly free nodes:
    the domain with the fewest that suffice, else the fullest domains first; what is left goes to
    partly free nodes.
    """
    one = state.shapes[shape]
    pool, units = one.pool, one.units
    this = state.pools[pool]
    per_node = this.units // units
    left = state.jobs[job].workers
    if left <= per_node:
        node = one_node(state, pool, left * units)
        if node != NONE:
            hold(state, job, node, left, units, outlives, lifted)
            return
    while left > 0:
        wanted = (left + per_node - 1) // per_node
        full = lowest_at_least(state.shelf_bits, this.shelf_bits_first, wanted, this.shelf_last)
        if full == NONE:
            full = highest_at_most(state.shelf_bits, this.shelf_bits_first, this.shelf_last)
        if full == NONE:
            node = fullest_partial(state, pool, units)
            workers = min(left, state.nodes[node].seen // units)
            hold(state, job, node, workers, units, outlives, lifted)
            left -= workers
            continue
        domain = state.shelves[this.shelf_first + full]
        for _ in range(min(wanted, full)):
            workers = min(left, per_node)
            hold(state, job, state.domains[domain].head, workers, units, outlives, lifted)
            left -= workers


@compiled
def give_back(state: State, job: int) -> None:
    """Free everything a job holds."""
    core = state.core[0]
    index = state.jobs[job].entries
    while index != NONE:
        entry = state.entries[index]
        state.nodes[entry.node].free += entry.units
        relist(state, entry.node, False)
        after = entry.after
        entry.after = core.entry_free
        core.entry_free = index
        index = after
    state.jobs[job].entries = NONE
