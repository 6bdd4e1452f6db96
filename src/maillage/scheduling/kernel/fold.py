"""Events change state; nothing else does. Each function is total: what does not apply changes nothing.

At one instant ends come first, then arrivals, then one decision (the loop that calls sees to it).
"""

from __future__ import annotations

from maillage.scheduling.kernel.compilation import compiled, entry
from maillage.scheduling.kernel.fit import give_back, hold, relist
from maillage.scheduling.kernel.layout import (
    CLASSES,
    DOOMED,
    FOREVER,
    FREE,
    HELD,
    LIVE,
    NONE,
    STOPPING,
    WAITING,
    State,
)
from maillage.scheduling.kernel.line import insert, remove
from maillage.scheduling.kernel.order import charge_s


@entry
def new_job(state: State) -> int:
    """A free row, cleared of links. The caller has made sure that there is one."""
    core = state.core[0]
    job = core.job_free
    this = state.jobs[job]
    core.job_free = this.chain
    core.seq += 1
    this.seq = core.seq
    this.status = HELD
    this.attempt = 0
    this.block = NONE
    this.entries = NONE
    this.edges = NONE
    this.chain = NONE
    this.shape_id = NONE
    this.waits_for = 0
    this.fresh = 0
    this.cancelled = 0
    this.stop_reason = 0
    return job


@entry
def free_job(state: State, job: int) -> None:
    core = state.core[0]
    this = state.jobs[job]
    this.status = FREE
    this.chain = core.job_free
    core.job_free = job


@compiled
def enqueue(state: State, job: int) -> None:
    """Put a job in its waiting line; a pass that sees only fresh jobs is enough unless it leads."""
    core = state.core[0]
    this = state.jobs[job]
    this.status = WAITING
    org = this.org if core.fair else 0
    this.line = core.pools + org * CLASSES + this.job_class
    front = insert(state, this.line, job, this.line_key, this.submit_s)
    if front:
        core.dirty = 1
    else:
        this.fresh = 1
        this.chain = core.fresh
        core.fresh = job


@entry
def submit(state: State, job: int) -> None:
    """A job whose fields are set wants to run; it is held while jobs before it have not succeeded."""
    if state.jobs[job].waits_for == 0:
        enqueue(state, job)


@entry
def wait_for(state: State, job: int, parent: int) -> None:
    """Make `job` wait until `parent` has succeeded."""
    core = state.core[0]
    index = core.edge_free
    edge = state.edges[index]
    core.edge_free = edge.after
    edge.job = job
    edge.seq = state.jobs[job].seq
    edge.after = state.jobs[parent].edges
    state.jobs[parent].edges = index
    state.jobs[job].waits_for += 1


@entry
def tell_followers(state: State, job: int, succeeded: bool) -> None:
    """Let the jobs after this one go, or doom them and all that come after them."""
    core = state.core[0]
    index = state.jobs[job].edges
    state.jobs[job].edges = NONE
    while index != NONE:
        edge = state.edges[index]
        follower = edge.job
        seq = edge.seq
        after = edge.after
        edge.after = core.edge_free
        core.edge_free = index
        index = after
        this = state.jobs[follower]
        if this.status != HELD or this.seq != seq:
            continue
        if not succeeded:
            this.status = DOOMED
            this.chain = core.doomed
            core.doomed = follower
            continue
        this.waits_for -= 1
        if this.waits_for == 0:
            enqueue(state, follower)


@compiled
def leave_fresh(state: State, job: int) -> None:
    """Forget that a waiting job has not been looked at."""
    core = state.core[0]
    if state.jobs[job].fresh == 0:
        return
    state.jobs[job].fresh = 0
    if core.fresh == job:
        core.fresh = state.jobs[job].chain
        return
    at = core.fresh
    while state.jobs[at].chain != job:
        at = state.jobs[at].chain
    state.jobs[at].chain = state.jobs[job].chain


@compiled
def stop_live(state: State, job: int, now_s: int) -> None:
    """Mark a live job as stopping: it is expected to be gone after the grace period."""
    this = state.jobs[job]
    line = state.blocks[this.block].line
    remove(state, job)
    this.status = STOPPING
    this.end_s = now_s + state.core[0].grace_s
    insert(state, line, job, this.end_s, 0)


@entry
def ask_stop(state: State, job: int, reason: int, now_s: int) -> None:
    """A person wants a live job stopped; the next decision says so to its site."""
    core = state.core[0]
    this = state.jobs[job]
    if this.stop_reason == 0:
        this.chain = core.to_stop
        core.to_stop = job
    this.stop_reason = reason
    stop_live(state, job, now_s)


@entry
def withdraw(state: State, job: int) -> None:
    """Take a job that does not run out of the queue; the next decision drops it."""
    core = state.core[0]
    this = state.jobs[job]
    if this.status == WAITING:
        leave_fresh(state, job)
        remove(state, job)
        core.dirty = 1
    this.status = DOOMED
    this.chain = core.doomed
    core.doomed = job


@compiled
def unchain_stop(state: State, job: int) -> None:
    """A job that ended by itself need not be told to stop."""
    core = state.core[0]
    if state.jobs[job].stop_reason == 0:
        return
    state.jobs[job].stop_reason = 0
    if core.to_stop == job:
        core.to_stop = state.jobs[job].chain
        return
    at = core.to_stop
    while at != NONE and state.jobs[at].chain != job:
        at = state.jobs[at].chain
    if at != NONE:
        state.jobs[at].chain = state.jobs[job].chain


@entry
def end(state: State, job: int, now_s: int, requeue: bool) -> None:
    """A live attempt is over: its nodes are free, and the job waits again if `requeue`."""
    core = state.core[0]
    this = state.jobs[job]
    remove(state, job)
    unchain_stop(state, job)
    one = state.shapes[this.shape_id]
    pool = state.pools[one.pool]
    state.sites[pool.site].load_mw -= this.workers * one.units * pool.unit_mw
    units = this.workers * one.units
    state.orgs[this.org].usage -= units * max(0.0, this.charged - max(0, now_s - this.start_s))
    if this.spread != NONE:
        state.spread[this.spread, pool.site] -= 1
    if this.job_class == CLASSES - 1:
        core.flexible_live -= 1
    give_back(state, job)
    this.shape_id = NONE
    core.dirty = 1
    if requeue:
        enqueue(state, job)
    else:
        this.status = DOOMED


@compiled
def begin(state: State, job: int, shape: int, now_s: int) -> None:
    """Book a start that is decided: all but the nodes."""
    this = state.jobs[job]
    one = state.shapes[shape]
    pool = state.pools[one.pool]
    leave_fresh(state, job)
    remove(state, job)
    this.status = LIVE
    this.shape_id = shape
    this.attempt += 1
    this.start_s = now_s
    this.end_s = FOREVER if this.estimate_s < 0 else now_s + this.estimate_s
    insert(state, pool.line, job, this.end_s, 0)
    state.sites[pool.site].load_mw += this.workers * one.units * pool.unit_mw
    this.charged = charge_s(this.estimate_s)
    state.orgs[this.org].usage += this.workers * one.units * this.charged
    if this.spread != NONE:
        state.spread[this.spread, pool.site] += 1
    if this.job_class == CLASSES - 1:
        state.core[0].flexible_live += 1


@entry
def adopt(state: State, job: int, shape: int, attempt: int, start_s: int) -> None:
    """Book a live attempt that another core decided; `adopt_node` has held its nodes."""
    state.jobs[job].attempt = attempt - 1
    begin(state, job, shape, start_s)


@entry
def adopt_node(state: State, job: int, node: int, workers: int, units: int) -> None:
    hold(state, job, node, workers, units, False, False)


@entry
def set_node(state: State, node: int, up: int) -> None:
    this = state.nodes[node]
    if this.up == up:
        return
    this.up = up
    relist(state, node, False)
    state.core[0].dirty = 1


@entry
def set_site(state: State, site: int, closed: int) -> None:
    state.sites[site].closed = closed
    state.core[0].dirty = 1
