"""Ordered lines of jobs in linked blocks: the waiting lines, and each pool's running jobs by end.

A job stands in at most one line, sorted by (rank, rank_tie, seq). Insertion looks from the back,
where most arrivals go; a block knows the smallest need among its rows, so that a pass skips the
blocks in which nothing can fit. Neighbours that are both thin are merged, which bounds the blocks.
"""

from __future__ import annotations

from maillage.scheduling.kernel.compilation import compiled
from maillage.scheduling.kernel.layout import BLOCK_ROWS, FOREVER, NONE, State

THIN = BLOCK_ROWS // 2


@compiled
def goes_before(state: State, a: int, b: int) -> bool:
    one, other = state.jobs[a], state.jobs[b]
    if one.rank != other.rank:
        return one.rank < other.rank
    if one.rank_tie != other.rank_tie:
        return one.rank_tie < other.rank_tie
    return one.seq < other.seq


@compiled
def new_block(state: State, line: int, behind: int) -> int:
    """An empty block of `line` behind block `behind` (NONE: at the front)."""
    core = state.core[0]
    index = core.block_free
    block = state.blocks[index]
    core.block_free = block.after
    block.line = line
    block.rows = 0
    block.need = FOREVER
    block.before = behind
    if behind == NONE:
        block.after = state.lines[line].first
        state.lines[line].first = index
    else:
        block.after = state.blocks[behind].after
        state.blocks[behind].after = index
    if block.after == NONE:
        state.lines[line].last = index
    else:
        state.blocks[block.after].before = index
    return index


@compiled
def free_block(state: State, index: int) -> None:
    block = state.blocks[index]
    line = state.lines[block.line]
    if block.before == NONE:
        line.first = block.after
    else:
        state.blocks[block.before].after = block.after
    if block.after == NONE:
        line.last = block.before
    else:
        state.blocks[block.after].before = block.before
    core = state.core[0]
    block.after = core.block_free
    core.block_free = index


@compiled
def refresh_need(state: State, index: int) -> None:
    block = state.blocks[index]
    need = FOREVER
    for i in range(block.rows):
        need = min(need, state.jobs[state.rows[index, i]].need)
    block.need = need


@compiled
def move_rows(state: State, source: int, start: int, target: int) -> None:
    """Append rows `start`.. of block `source` to block `target`."""
    one, other = state.blocks[source], state.blocks[target]
    at = other.rows
    for i in range(start, one.rows):
        job = state.rows[source, i]
        state.rows[target, at] = job
        state.jobs[job].block = target
        at += 1
    other.rows = at
    one.rows = start
    refresh_need(state, target)


@compiled
def note_active(state: State, line: int) -> None:
    """Keep the list of non-empty waiting lines."""
    core = state.core[0]
    if line < core.pools:
        return
    this = state.lines[line]
    if this.rows > 0 and this.place == NONE:
        this.place = core.active
        state.active[core.active] = line
        core.active += 1
    elif this.rows == 0 and this.place != NONE:
        last = state.active[core.active - 1]
        state.active[this.place] = last
        state.lines[last].place = this.place
        core.active -= 1
        this.place = NONE


@compiled
def insert(state: State, line: int, job: int, rank: int, rank_tie: int) -> bool:
    """Put a job in its place in a line. Returns whether it now stands first."""
    this = state.jobs[job]
    this.rank = rank
    this.rank_tie = rank_tie
    block = state.lines[line].last
    while block != NONE and goes_before(state, job, state.rows[block, 0]):
        block = state.blocks[block].before
    front = False
    if block == NONE:
        front = True
        block = state.lines[line].first
        if block == NONE:
            block = new_block(state, line, NONE)
    low, high = 0, state.blocks[block].rows
    while low < high:
        middle = (low + high) // 2
        if goes_before(state, job, state.rows[block, middle]):
            high = middle
        else:
            low = middle + 1
    if state.blocks[block].rows == BLOCK_ROWS:
        if low == BLOCK_ROWS and state.blocks[block].after == NONE:
            block = new_block(state, line, block)
            low = 0
        else:
            half = new_block(state, line, block)
            move_rows(state, block, THIN, half)
            refresh_need(state, block)
            if low > THIN:
                block = half
                low -= THIN
    count = state.blocks[block].rows
    for i in range(count, low, -1):
        state.rows[block, i] = state.rows[block, i - 1]
    state.rows[block, low] = job
    state.blocks[block].rows = count + 1
    state.blocks[block].need = min(state.blocks[block].need, this.need)
    this.block = block
    state.lines[line].rows += 1
    note_active(state, line)
    return front


@compiled
def remove(state: State, job: int) -> bool:
    """Take a job out of the line it stands in. Returns whether it stood first."""
    index = state.jobs[job].block
    block = state.blocks[index]
    line = block.line
    at = 0
    while state.rows[index, at] != job:
        at += 1
    front = at == 0 and block.before == NONE
    for i in range(at, block.rows - 1):
        state.rows[index, i] = state.rows[index, i + 1]
    block.rows -= 1
    state.jobs[job].block = NONE
    state.lines[line].rows -= 1
    if block.rows == 0:
        free_block(state, index)
    else:
        if block.need == state.jobs[job].need:
            refresh_need(state, index)
        after, before = block.after, block.before
        if after != NONE and block.rows + state.blocks[after].rows <= THIN:
            move_rows(state, after, 0, index)
            free_block(state, after)
        elif before != NONE and block.rows + state.blocks[before].rows <= THIN:
            move_rows(state, index, 0, before)
            free_block(state, index)
    note_active(state, line)
    return front
