"""How long a decision takes, against the length of the queue and the size of the fleet; with a picture.

    python benchmarks/decide_time.py [--most-queued 1000000] [--most-nodes 400000] [--picture FILE.svg]

Five cases, each a round as the loop makes it (fold what happened, then decide):
  busy      nothing is free, and everything is looked at again
  backfill  two gangs have ended; the head of the queue is blocked, what is behind it is backfilled
  broken    a tenth of the nodes is half free, and nothing in the whole queue fits there: the worst case
  arrival   one job arrives
  end       one gang ends; what fits is started in its place
Times are CPU milliseconds of one thread, commands made ready for the log included.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fleet import GPUS, NOW_S, Fleet
from noise import Figures, alone, percentiles

from maillage.scheduling.messages import Event, JobClass
from maillage.scheduling.scheduler import Scheduler

QUEUES = (100, 1_000, 10_000, 100_000, 1_000_000)
NODES = (100, 1_000, 10_000, 100_000, 400_000)
NODES_OF_QUEUES = 10_000  # the fleet on which the queue grows
QUEUE_OF_NODES = 10_000  # the queue before which the fleet grows
CASES = ("busy", "backfill", "broken", "arrival", "end")
STREAM = 200  # arrivals and ends timed one by one
REPEATS = 15


def timed(scheduler: Scheduler, events: list[Event], now_s: int = NOW_S) -> tuple[float, int]:
    """CPU milliseconds of folding the events and deciding, and the commands that came of it."""
    began_s = time.thread_time()
    for event in events:
        scheduler.fold(event)
    commands = scheduler.decide(now_s)
    return (time.thread_time() - began_s) * 1000, len(commands)


def _told(times: list[tuple[float, int]]) -> Figures:
    told = percentiles([taken_ms for taken_ms, _ in times])
    return told | {"commands": round(sum(commands for _, commands in times) / len(times), 1)}


def on_copies(fleet: Fleet, events: Callable[[], list[Event]]) -> Figures:
    """The same round again and again, each on a copy, as nothing of it may be left for the next."""
    return _told([timed(fleet.scheduler.copy(), events()) for _ in range(REPEATS)])


def one_by_one(fleet: Fleet, events: Iterator[Event]) -> Figures:
    times = []
    for event in itertools.islice(events, STREAM):
        began_s = time.thread_time()
        fleet.scheduler.fold(event)
        commands = fleet.decide()
        times.append(((time.thread_time() - began_s) * 1000, len(commands)))
    return _told(times)


def full(nodes: int, queued: int, broken: int = 0) -> Fleet:
    """A full fleet before a queue whose head is a gang that must wait."""
    fleet = Fleet(nodes)
    fleet.break_nodes(broken)
    fleet.run_full(but=broken * GPUS // 2)
    head = min(64, nodes // 3)
    fleet.scheduler.fold(fleet.job(head, GPUS, 3_600, JobClass.RESERVED))
    fleet.queue(queued, whole_nodes=broken > 0)
    fleet.decide()
    return fleet


def arrivals(fleet: Fleet) -> Iterator[Event]:
    while True:
        yield fleet.queued()


def measure_at(nodes: int, queued: int) -> dict[str, Figures]:
    figures = in_full(full(nodes, queued)) | in_broken(full(nodes, queued, broken=nodes // 10))
    return {case: figures[case] for case in CASES}


def in_full(fleet: Fleet) -> dict[str, Figures]:
    gc.freeze()  # as `up` does
    ends = list(itertools.islice(fleet.ends(), 2))  # on copies only: here they run on
    figures = {
        "backfill": on_copies(fleet, lambda: list(ends)),
        "busy": on_copies(fleet, lambda: [fleet.limit_lifted()]),
        "arrival": one_by_one(fleet, arrivals(fleet)),
        "end": one_by_one(fleet, fleet.ends()),
    }
    gc.unfreeze()
    return figures


def in_broken(fleet: Fleet) -> dict[str, Figures]:
    gc.freeze()
    figures = {"broken": on_copies(fleet, lambda: [fleet.limit_lifted()])}
    gc.unfreeze()
    return figures


def measure(most_queued: int = QUEUES[-1], most_nodes: int = NODES[-1]) -> Figures:
    """By length of the queue, and by size of the fleet; and both at their largest named aim."""
    measure_at(NODES[0], QUEUES[0])  # warm: what is compiled is loaded at its first call
    by_queue = {q: measure_at(NODES_OF_QUEUES, q) for q in QUEUES if q <= most_queued}
    by_nodes = {n: measure_at(n, QUEUE_OF_NODES) for n in NODES if n <= most_nodes}
    return {
        "unit": "CPU ms",
        "nodes_of_queues": NODES_OF_QUEUES,
        "queue_of_nodes": QUEUE_OF_NODES,
        "by_queue": by_queue,
        "by_nodes": by_nodes,
    }


def draw(figures: Figures, target: Path) -> None:
    """Both sweeps side by side, log-log, p50 with p99 as a thin line above it."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "maillage"
    from matplotlib import pyplot

    picture, sides = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    nodes, queued = figures["nodes_of_queues"], figures["queue_of_nodes"]
    titles = (
        f"jobs waiting, before {nodes:,} nodes of {GPUS} accelerators",
        f"nodes of {GPUS} accelerators, {queued:,} jobs waiting",
    )
    for side, sweep, title in zip(sides, ("by_queue", "by_nodes"), titles, strict=True):
        sizes = [int(size) for size in figures[sweep]]
        for case in CASES:
            told = [figures[sweep][size][case] for size in figures[sweep]]
            (line,) = side.loglog(sizes, [one["p50"] for one in told], "o-", markersize=4, label=case)
            side.loglog(sizes, [one["p99"] for one in told], ":", linewidth=1, color=line.get_color())
        side.set_xlabel(title)
        side.grid(which="major", alpha=0.3)
    sides[0].axhline(100, color="grey", linewidth=0.8)
    sides[1].axhline(100, color="grey", linewidth=0.8)
    sides[0].text(sizes[0], 110, "100 ms", color="grey", fontsize=8)
    sides[0].set_ylabel("one round, CPU ms (dotted: p99)")
    sides[1].legend(frameon=False, fontsize=8)
    picture.savefig(target, metadata={"Date": None})
    pyplot.close(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--most-queued", type=int, default=QUEUES[-1])
    parser.add_argument("--most-nodes", type=int, default=NODES[-1])
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()

    def both() -> Figures:
        figures = measure(given.most_queued, given.most_nodes)
        if given.picture:
            draw(figures, given.picture)
        return figures

    alone(both)


if __name__ == "__main__":
    main()
