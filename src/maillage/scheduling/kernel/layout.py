"""The core's memory: one array of records for each kind of thing, and the tuple that holds them.

Rows are recycled through free lists; -1 is "none" everywhere. Times are whole seconds, power is
whole milliwatts, capacity is whole *units*: a pool's scarce resource, its accelerators or, where it
has none, its CPUs. Names that NumPy's records already use (`shape`, `flags`, `size`) are avoided.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

FOREVER = 1 << 60
UNBOUND = 1 << 30  # a node whose units no reservation bounds
NONE = -1
BLOCK_ROWS = 64
CLASSES = 3

# A job's status.
FREE, HELD, WAITING, LIVE, STOPPING, DOOMED = 0, 1, 2, 3, 4, 5

# What a command is, and why.
START, STOP, DROP = 1, 2, 3
PREEMPTED, BEFORE_FAILED, CANCELLED, REQUEUED = 1, 2, 3, 4

# How the policy treats work behind a blocked job.
FCFS, EASY = 0, 1

# Why a site takes no work, as bits.
DRAINED, UNREACHABLE = 1, 2

JOB = np.dtype(
    [
        ("status", "i4"),
        ("ask", "i4"),
        ("workers", "i4"),
        ("attempt", "i4"),
        ("org", "i4"),
        ("job_class", "i4"),
        ("spread", "i4"),
        ("optimise", "i4"),
        ("estimate_s", "i8"),  # below 0: does not end by itself
        ("submit_s", "i8"),
        ("seq", "i8"),  # order of arrival, the last tie-break
        ("need", "i8"),  # fewest units that could hold it, for skipping blocks
        ("line_key", "i8"),  # its place within its waiting line; smaller first
        ("line", "i4"),  # its waiting line
        ("block", "i4"),  # the block of the line it stands in, waiting or live
        ("rank", "i8"),  # sort key in the line it stands in now
        ("rank_tie", "i8"),
        ("shape_id", "i4"),  # as what it runs
        ("entries", "i4"),  # its nodes: head of an entry list
        ("start_s", "i8"),
        ("end_s", "i8"),  # by estimate
        ("charged", "f8"),  # unit-seconds put on its organisation at start
        ("waits_for", "i4"),  # jobs that must succeed first
        ("edges", "i4"),  # jobs that wait for this one
        ("chain", "i4"),  # next in the list of free, fresh, doomed or to-be-stopped jobs
        ("retries", "i4"),  # left
        ("cancelled", "i4"),  # 1 once a person wants it gone
        ("stop_reason", "i4"),
        ("fresh", "i4"),  # 1 while no pass has looked at it
    ],
    align=True,
)
NODE = np.dtype(
    [
        ("pool", "i4"),
        ("domain", "i4"),
        ("free", "i4"),  # units free, were it up
        ("past", "i4"),  # units that work outliving the pool's reservation may still take
        ("up", "i4"),
        ("seen", "i4"),  # units free as listed in the buckets: min(free, past), 0 when down
        ("room", "i4"),  # units free as counted in `room` of the shapes: free, 0 when down
        ("counted", "i4"),  # units free as counted in `fit`: min(free, past), 0 when down
        ("after", "i4"),  # list links
        ("before", "i4"),
        ("extra", "i4"),  # scratch of a walk over ends, valid when `stamp` is the walk's
        ("stamp", "i8"),
    ],
    align=True,
)
DOMAIN = np.dtype(
    [
        ("pool", "i4"),
        ("head", "i4"),  # its wholly free nodes
        ("full", "i4"),  # how many
        ("after", "i4"),
        ("before", "i4"),
    ],
    align=True,
)
POOL = np.dtype(
    [
        ("site", "i4"),
        ("node_first", "i4"),
        ("nodes", "i4"),
        ("units", "i4"),  # per node
        ("bucket_first", "i4"),  # heads of node lists by free units 0..units
        ("bits_first", "i4"),
        ("shelf_first", "i4"),  # heads of domain lists by wholly free nodes 0..domain size
        ("shelf_bits_first", "i4"),
        ("shelf_last", "i4"),  # the largest count of nodes in a domain
        ("domain_first", "i4"),
        ("domains", "i4"),
        ("shape_first", "i4"),
        ("line", "i4"),  # its running jobs by estimated end
        ("head", "i4"),  # the blocked job that holds the reservation
        ("shadow_s", "i8"),  # when that job can start at the latest
        ("reserved", "i4"),  # entry list of the reservation's nodes
        ("shut", "i4"),  # nothing more starts here in this pass (FCFS)
        ("free_units", "i8"),
        ("unit_mw", "i8"),  # IT power that a unit at its highest adds to an idle one
    ],
    align=True,
)
SHAPE = np.dtype(
    [
        ("pool", "i4"),
        ("units", "i4"),  # per worker
        ("fit", "i8"),  # workers that fit now without touching the reservation
        ("room", "i8"),  # workers that fit now
        ("after", "i4"),
    ],
    align=True,
)
ASK = np.dtype([("first", "i4"), ("choices", "i4")], align=True)
SITE = np.dtype(
    [
        ("closed", "i4"),
        ("limit_mw", "i8"),  # IT power that fits under the limit; below 0 means none
        ("load_mw", "i8"),  # IT power with what is placed at its highest, idle nodes included
        ("idle_mw", "i8"),  # IT power with nothing placed
        ("known", "i4"),  # 1 once its carbon and price have been told
        ("carbon", "f8"),
        ("price", "f8"),
    ],
    align=True,
)
ORG = np.dtype([("usage", "f8"), ("weight", "f8")], align=True)
LINE = np.dtype(
    [("first", "i4"), ("last", "i4"), ("rows", "i8"), ("place", "i4"), ("cursor", "i4")], align=True
)
BLOCK = np.dtype(
    [("line", "i4"), ("rows", "i4"), ("after", "i4"), ("before", "i4"), ("need", "i8")], align=True
)
ENTRY = np.dtype([("node", "i4"), ("workers", "i4"), ("units", "i4"), ("after", "i4")], align=True)
# `seq` is the waiting job's: its row may be another job's by the time the one before it ends.
EDGE = np.dtype([("job", "i4"), ("after", "i4"), ("seq", "i8")], align=True)
COMMAND = np.dtype([("what", "i4"), ("job", "i4"), ("attempt", "i4"), ("reason", "i4")], align=True)
CORE = np.dtype(
    [
        ("backfill", "i4"),
        ("fair", "i4"),
        ("preempt", "i4"),
        ("sites", "i4"),
        ("pools", "i4"),
        ("orgs", "i4"),
        ("active", "i4"),  # waiting lines that are not empty
        ("dirty", "i4"),  # room may have grown, or the head changed: look at everything
        ("fresh", "i4"),  # head of the list of jobs not yet looked at
        ("doomed", "i4"),  # head of the list of jobs to be dropped
        ("to_stop", "i4"),  # head of the list of live jobs that a person wants stopped
        ("commands", "i4"),
        ("flexible_live", "i4"),  # live jobs that could be preempted
        ("job_free", "i4"),
        ("block_free", "i4"),
        ("entry_free", "i4"),
        ("edge_free", "i4"),
        ("seq", "i8"),
        ("stamp", "i8"),
        ("grace_s", "i8"),
        ("decay_period_s", "i8"),
        ("decay_at_s", "i8"),
        ("decay_factor", "f8"),
        ("weight_carbon", "f8"),
        ("weight_price", "f8"),
    ],
    align=True,
)


class State(NamedTuple):
    """Everything the core knows. The arrays are replaced only by `Scheduler` when they must grow."""

    core: Any  # one CORE record
    jobs: Any
    nodes: Any
    domains: Any
    pools: Any
    shapes: Any
    asks: Any
    choices: Any  # shape ids, by ask
    sites: Any
    orgs: Any
    lines: Any  # the pools' running jobs, then a waiting line for each organisation and class
    blocks: Any
    rows: Any  # (blocks, BLOCK_ROWS): job rows of each block, in order
    entries: Any
    edges: Any
    buckets: Any
    bits: Any
    shelves: Any
    shelf_bits: Any
    active: Any  # ids of non-empty waiting lines
    heap: Any  # scratch: lines by order of visit
    victims: Any  # scratch: jobs that might be preempted
    spread: Any  # (group, site): live members
    commands: Any


def records(count: int, dtype: np.dtype[Any]) -> Any:
    """A zeroed array of records with attribute access."""
    return np.zeros(count, dtype).view(np.recarray)


def chained(count: int, dtype: np.dtype[Any], link: str) -> Any:
    """Records in a free list: each links to the next, the last to none."""
    array = records(count, dtype)
    array[link] = np.arange(1, count + 1)
    array[link][-1] = NONE
    return array
