"""What must hold of the kernel's arrays after every event, recomputed the slow way from the nodes."""

from __future__ import annotations

from maillage.scheduling.kernel import layout
from maillage.scheduling.kernel.layout import NONE
from maillage.scheduling.scheduler import Scheduler


def assert_sound(scheduler: Scheduler) -> None:
    """Counts, lists and bitmaps agree with the nodes; lines are in order; free lists are whole."""
    state = scheduler.state
    for p in range(len(state.pools)):
        _counts(scheduler, p)
        _buckets(scheduler, p)
    _lines(scheduler)
    _free_lists(scheduler)


def _counts(scheduler: Scheduler, p: int) -> None:
    state = scheduler.state
    pool = state.pools[p]
    nodes = state.nodes[pool.node_first : pool.node_first + pool.nodes]
    held = dict.fromkeys(range(pool.node_first, pool.node_first + pool.nodes), 0)
    for row in scheduler.id_of:
        for entry in _chain(state.entries, int(state.jobs[row].entries)):
            if int(state.entries[entry].node) in held:
                held[int(state.entries[entry].node)] += int(state.entries[entry].units)
    assert all(int(state.nodes[n].free) == int(pool.units) - units for n, units in held.items())
    assert int(pool.free_units) == sum(int(node.free) for node in nodes if node.up)
    for shape in _chain(state.shapes, int(pool.shape_first)):
        units = int(state.shapes[shape].units)
        room = [int(node.free) if node.up else 0 for node in nodes]
        fit = [min(free, int(node.past)) for free, node in zip(room, nodes, strict=True)]
        assert int(state.shapes[shape].room) == sum(free // units for free in room)
        assert int(state.shapes[shape].fit) == sum(free // units for free in fit)


def _buckets(scheduler: Scheduler, p: int) -> None:
    state = scheduler.state
    pool = state.pools[p]
    listed: dict[int, int] = {}
    for k in range(1, int(pool.units)):
        head = int(state.buckets[pool.bucket_first + k])
        members = _chain(state.nodes, head)
        bit = int(state.bits[pool.bits_first + k // 32]) >> (k % 32) & 1
        assert bit == (head != NONE)
        listed |= dict.fromkeys(members, k)
    for domain in range(pool.domain_first, pool.domain_first + pool.domains):
        members = _chain(state.nodes, int(state.domains[domain].head))
        assert len(members) == int(state.domains[domain].full)
        assert all(int(state.nodes[node].domain) == domain for node in members)
        listed |= {node: int(pool.units) for node in members}
    for node in range(pool.node_first, pool.node_first + pool.nodes):
        this = state.nodes[node]
        assert listed.get(node, 0) == (min(int(this.free), int(this.past)) if this.up else 0)


def _lines(scheduler: Scheduler) -> None:
    state = scheduler.state
    standing = 0
    for number in range(len(state.pools) + int(state.core[0].orgs) * layout.CLASSES):
        line = state.lines[number]
        rows: list[int] = []
        before = NONE
        for block in _chain(state.blocks, int(line.first)):
            this = state.blocks[block]
            here = [int(row) for row in state.rows[block, : this.rows]]
            assert here, "no empty block stands in a line"
            assert int(this.before) == before
            assert int(this.need) == min(int(state.jobs[row].need) for row in here)
            assert all(int(state.jobs[row].block) == block for row in here)
            rows += here
            before = block
        keys = [(int(j.rank), int(j.rank_tie), int(j.seq)) for j in (state.jobs[row] for row in rows)]
        assert keys == sorted(keys)
        assert len(rows) == int(line.rows)
        standing += len(rows)
    held = sum(int(state.jobs[row].status) in (layout.HELD, layout.DOOMED) for row in scheduler.id_of)
    assert standing + held == len(scheduler.id_of)


def _free_lists(scheduler: Scheduler) -> None:
    state, core = scheduler.state, scheduler.state.core[0]
    held = sum(len(_chain(state.entries, int(state.jobs[row].entries))) for row in scheduler.id_of)
    held += sum(len(_chain(state.entries, int(pool.reserved))) for pool in state.pools)
    assert held + len(_chain(state.entries, int(core.entry_free))) == len(state.entries)
    assert len(scheduler.id_of) + len(_chain(state.jobs, int(core.job_free), "chain")) == len(state.jobs)


def _chain(array: object, head: int, link: str = "after") -> list[int]:
    found = []
    while head != NONE:
        found.append(head)
        assert len(found) <= len(array), "a list runs in a circle"  # type: ignore[arg-type]
        head = int(array[head][link])  # type: ignore[index]
    return found
