"""`python -m maillage.scheduling.kernel` compiles the kernel ahead, so that no user waits for it."""

from __future__ import annotations

from maillage.network.model import Cooling, Grid, Network, Place, Pool, Site
from maillage.scheduling.scheduler import Scheduler
from maillage.scheduling.warm import exercise

POOL = Pool("site", "pool", "cpu", 2, 0, 4, 16.0, 2)
SITE = Site("site", Place(48.0, 2.0, "FR"), Grid("FR", 1.0), Cooling(), (POOL,))

if __name__ == "__main__":
    exercise(Scheduler(Network("warm", (SITE,))))
