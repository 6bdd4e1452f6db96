"""A full fleet with a queue before it: what decisions are timed on. The same for the same sizes.

Three sites of H100 nodes (8 each), run full by gangs of eight nodes that end within a day. The queue is
of 200 organisations in three classes: mostly parts of a node, some gangs up to 64 nodes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from maillage.network.model import Cooling, Grid, Network, Place, Pool, Site
from maillage.scheduling.messages import Command, Ended, JobClass, LimitChanged, Start, Submitted
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.lifecycle import EndReason

NOW_S = 1_790_000_000
SITES = ("paris", "marseille", "mulhouse")
ORGS = 200
GPUS = 8  # per node
GANG_NODES = 8
DAY_S = 86_400
NODE_MW = 0.02  # of grid connection per node: so much that power never binds


def network(nodes: int) -> Network:
    """`nodes` nodes in all, over three sites, in racks of 36."""
    sites = []
    for number, name in enumerate(SITES):
        here = nodes // 3 + (number < nodes % 3)
        pool = Pool(name, "h100", "H100", here, GPUS, 96, 1024.0, 36)
        grid = Grid("FR", here * NODE_MW)
        sites.append(Site(name, Place(48.0, 2.0, "FR"), grid, Cooling(), (pool,)))
    return Network(f"bench-{nodes}", tuple(sites))


class Fleet:
    """A scheduler, what is live in it, and a source of jobs."""

    def __init__(self, nodes: int) -> None:
        self.scheduler = Scheduler(network(nodes))
        self.live: dict[str, Start] = {}
        self.now_s = NOW_S
        self._draw = random.Random(nodes)
        self._count = 0
        self._most_nodes = nodes // 3

    def decide(self) -> tuple[Command, ...]:
        commands = self.scheduler.decide(self.now_s)
        for command in commands:
            if isinstance(command, Start):
                self.live[command.job_id] = command
        return commands

    def job(self, workers: int, per_worker: int, estimate_s: int, job_class: JobClass) -> Submitted:
        self._count += 1
        return Submitted(
            job_id=f"j{self._count}",
            at_s=self.now_s,
            org=f"org{self._count % ORGS}",
            workers=workers,
            accelerators=("H100",),
            per_worker=per_worker,
            estimate_s=estimate_s,
            job_class=job_class,
        )

    def run_full(self, but: int = 0) -> None:
        """Start gangs until nothing is free but so many accelerators (the halves of broken nodes)."""
        while free := self.free() - but:
            gangs = free // (GPUS * GANG_NODES)
            for _ in range(min(2_000, gangs)):
                self._run(GANG_NODES, GPUS)
            for _ in range(0 if gangs > 2 * len(SITES) else free // GPUS):
                self._run(1, GPUS)
            self.decide()

    def break_nodes(self, count: int) -> None:
        """On an empty fleet: leave so many nodes with one half busy and the other free."""
        for _ in range(2 * count):
            self._run(1, GPUS // 2)
        self.decide()
        whole: dict[tuple[str, int], str] = {}
        for name, start in list(self.live.items()):
            node = (start.site, start.placement[0][0])
            if whole.setdefault(node, name) != name:
                self.scheduler.fold(Ended(name, start.attempt, self.now_s, EndReason.SUCCEEDED))
                del self.live[name]

    def free(self) -> int:
        return sum(load.units_free for load in self.scheduler.pools())

    def _run(self, workers: int, per_worker: int) -> None:
        estimate_s = self._draw.randrange(3_600, DAY_S)
        self.scheduler.fold(self.job(workers, per_worker, estimate_s, JobClass.STANDARD))

    def queued(self, whole_nodes: bool = False) -> Submitted:
        """One job of the queue's mix; with `whole_nodes`, none that fits on a part of a node."""
        draw = self._draw
        kind = draw.random()
        if kind < 0.6 and not whole_nodes:
            workers, per_worker = 1, draw.choice((1, 2, 4, 8))
        elif kind < 0.95:
            workers, per_worker = draw.randint(1, 16), GPUS
        else:
            workers, per_worker = draw.choice((32, 64)), GPUS
        job_class = draw.choices(tuple(JobClass), (1, 6, 3))[0]
        estimate_s = draw.randrange(600, DAY_S)
        return self.job(max(1, min(workers, self._most_nodes)), per_worker, estimate_s, job_class)

    def queue(self, count: int, whole_nodes: bool = False) -> None:
        for _ in range(count):
            self.scheduler.fold(self.queued(whole_nodes))

    def ends(self) -> Iterator[Ended]:
        """Ends of live jobs, drawn at random, without end."""
        while True:
            names = list(self.live)
            self._draw.shuffle(names)
            for name in names:
                start = self.live.pop(name)
                yield Ended(name, start.attempt, self.now_s, EndReason.SUCCEEDED)

    def limit_lifted(self) -> LimitChanged:
        """A site's limit rises: reason to look at everything again, with nothing freed."""
        self._count += 1
        return LimitChanged(SITES[0], self.now_s, 1e9 + self._count)
