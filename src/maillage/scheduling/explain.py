"""Why a job waits: the first constraint that binds, the smallest change that would start it, and when.

The tiers are asked in a fixed order, so that the same facts give the same answer:
what it comes after, whether any site takes work, nodes that are down, the site's power limit,
free room, another job's reservation, and last that the next decision will start it.
"""

from __future__ import annotations

from dataclasses import dataclass

from maillage.scheduling.kernel import layout
from maillage.scheduling.kernel.layout import NONE
from maillage.scheduling.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Why:
    """`reason` is one word for machines; `detail` has the numbers; `mend` is the smallest change.

    `expected_start_s`: if everything ends by its time limit and nothing new arrives; None: unknown.
    """

    reason: str
    detail: str
    mend: str = ""
    expected_start_s: int | None = None


@dataclass(frozen=True, slots=True)
class _Option:
    """One pool as this job sees it: how many of its workers fit now, and what is in the way."""

    site: str
    pool: str
    tier: int
    short: int  # workers, or W, missing
    why: Why


def why(scheduler: Scheduler, job_id: str, now_s: int, *, forecast: bool = True) -> Why:
    """The answer for a job the core knows; for one it does not, `reason` is `unknown`.

    Without `forecast` it does not say when: that costs a look ahead over all that is queued.
    """
    row = scheduler.row_of.get(job_id)
    if row is None:
        return Why("unknown", "the core does not hold this job: it has ended")
    job = scheduler.state.jobs[row]
    if job.status == layout.LIVE:
        return Why("runs", "it runs", expected_start_s=int(job.start_s))
    if job.status == layout.STOPPING:
        return Why("stopping", "its last attempt is being stopped; it is queued again once that has ended")
    if job.status == layout.DOOMED:
        return Why("ending", "it was cancelled, or a job before it failed")
    if job.status == layout.HELD:
        return _held(scheduler, job_id, int(job.waits_for))
    options = [_option(scheduler, row, int(c), now_s) for c in _choices(scheduler, row)]
    if not options:
        return Why("infeasible", "no pool of this network could ever run it", "ask for less")
    best = min(options, key=lambda option: (option.tier, option.short))
    start_s = scheduler.expected_start_s(job_id, now_s) if forecast else None
    return Why(best.why.reason, best.why.detail + _ahead(scheduler, row), best.why.mend, start_s)


def _held(scheduler: Scheduler, job_id: str, count: int) -> Why:
    names = [other for other in scheduler.submitted[job_id].after if scheduler.knows(other)]
    return Why("after", f"comes after {count} job(s) that have not succeeded yet: {', '.join(names)}")


def _choices(scheduler: Scheduler, row: int) -> list[int]:
    ask = scheduler.state.asks[scheduler.state.jobs[row].ask]
    return [int(scheduler.state.choices[c]) for c in range(ask.first, ask.first + ask.choices)]


def _ahead(scheduler: Scheduler, row: int) -> str:
    """How many jobs of its class stand before it, where the organisation's line tells."""
    state = scheduler.state
    job = state.jobs[row]
    ahead, block = 0, int(state.blocks[job.block].before)
    while block != NONE:
        ahead += int(state.blocks[block].rows)
        block = int(state.blocks[block].before)
    ahead += [int(other) for other in state.rows[job.block, : state.blocks[job.block].rows]].index(row)
    return f"; {ahead} job(s) of its line stand before it" if ahead else "; it is first in its line"


def _option(scheduler: Scheduler, row: int, shape: int, now_s: int) -> _Option:
    state = scheduler.state
    job, one = state.jobs[row], state.shapes[shape]
    pool_row = state.pools[one.pool]
    site_row = state.sites[pool_row.site]
    pool = scheduler.network.pools[int(one.pool)]
    workers, units = int(job.workers), int(one.units)
    place = f"{pool.site}/{pool.id}"

    def option(tier: int, short: int, reason: str, detail: str, mend: str = "") -> _Option:
        return _Option(pool.site, pool.id, tier, short, Why(reason, f"{place}: {detail}", mend))

    if site_row.closed:
        if site_row.closed & layout.UNREACHABLE:
            return option(5, 0, "site_closed", "the site cannot be seen", "bring its agent back")
        return option(5, 0, "site_closed", "the site is drained", f"maillage site resume {pool.site}")
    up = scheduler.state.nodes.up[pool_row.node_first : pool_row.node_first + pool_row.nodes]
    nodes_up = int(up.sum())
    could = nodes_up * (pool.units_per_node // units)
    if could < workers:
        detail = f"{nodes_up} of {pool.nodes} nodes are up and hold {could} of {workers} workers"
        return option(4, workers - could, "nodes_down", detail, "bring nodes back, or ask for fewer workers")
    room = int(one.room)
    if room < workers:
        kind = pool.accelerator
        detail = (
            f"{workers} worker(s) of {units} {kind} asked for, {room} fit now "
            f"({int(pool_row.free_units)} of {nodes_up * pool.units_per_node} {kind} free)"
        )
        mend = f"{workers - room} more worker(s) of {units} {kind} would start it"
        if room:
            mend += f"; or ask for {room} worker(s)"
        return option(2, workers - room, "no_room", detail, mend)
    draw_mw = workers * units * int(pool_row.unit_mw)
    over_mw = int(site_row.load_mw) + draw_mw - int(site_row.limit_mw)
    if site_row.limit_mw >= 0 and over_mw > 0:
        over_w = -(-over_mw // 1000)
        detail = f"would take the site {over_w / 1000:g} kW of IT power above what its limit leaves"
        mend = f"raise the limit of {pool.site}, or wait for its load to fall"
        return option(3, over_w, "power_limit", detail, mend)
    if int(one.fit) < workers:
        head = scheduler.id_of.get(int(pool_row.head), "?")
        in_s = max(0, int(pool_row.shadow_s) - now_s)
        detail = f"there is room, but it is kept for job {head}, which starts in {in_s} s at the latest"
        return option(1, workers - int(one.fit), "reserved", detail, "a shorter time limit may let it pass")
    if pool_row.shut:
        return option(1, 0, "reserved", "there is room, but nothing passes a blocked job ahead of it")
    return option(0, 0, "next", "it fits and starts with the next decision")
