"""FCFS and EASY of the core equal the plain reference of `oracle.py`, start by start."""

from __future__ import annotations

import heapq
import random

import pytest

from maillage.network.model import Cooling, Grid, Network, Place, Pool, Site
from maillage.scheduling.messages import Ended, Start, Submitted
from maillage.scheduling.policy import EASY, FCFS, Policy
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.lifecycle import EndReason
from tests.golden.oracle import Job, start_times


def machine(size: int) -> Network:
    """One pool of one node with `size` processors."""
    pool = Pool("a", "p", "cpu", 1, 0, size, 1000.0, 1)
    site = Site("a", Place(48.0, 2.0, "FR"), Grid("FR", 1e6), Cooling(), (pool,))
    return Network("machine", (site,))


def played(jobs: list[Job], size: int, policy: Policy) -> dict[int, int]:
    """Starts by the core: ends first, then submissions, then decisions until nothing more happens."""
    scheduler = Scheduler(machine(size), policy)
    by_id = {str(job.number): job for job in jobs}
    coming = sorted(jobs, key=lambda job: (job.submit, job.number), reverse=True)
    ends: list[tuple[int, str]] = []
    starts: dict[int, int] = {}
    while coming or ends:
        now = min([ends[0][0]] if ends else [coming[-1].submit], default=0)
        now = min(now, coming[-1].submit) if coming else now
        while ends and ends[0][0] == now:
            scheduler.fold(Ended(heapq.heappop(ends)[1], 1, now, EndReason.SUCCEEDED))
        while coming and coming[-1].submit == now:
            job = coming.pop()
            scheduler.fold(Submitted(str(job.number), now, workers=job.size, estimate_s=job.estimate))
        for command in scheduler.decide(now):
            assert isinstance(command, Start)
            starts[int(command.job_id)] = now
            heapq.heappush(ends, (now + by_id[command.job_id].run, command.job_id))
    return starts


# Twelve jobs on four processors: (submit, run, estimate, size), numbered from 1, and what they teach.
TWELVE = [
    (0, 10, 10, 2),  # starts
    (0, 6, 20, 1),  # starts, will end long before its estimate
    (1, 5, 5, 4),  # blocked head: shadow 20 by estimates
    (2, 3, 3, 1),  # passes the head: ends by the shadow
    (3, 30, 30, 1),  # may not: it would outlive the shadow, and there is no extra
    (4, 1, 1, 2),  # too large now
    (12, 2, 9, 3),
    (12, 2, 2, 1),
    (13, 8, 8, 1),
    (13, 1, 40, 1),
    (14, 1, 1, 4),
    (50, 1, 1, 4),
]


def twelve() -> list[Job]:
    return [Job(number, *fields) for number, fields in enumerate(TWELVE, start=1)]


def test_twelve_jobs_by_hand() -> None:
    easy = played(twelve(), 4, EASY)
    assert easy[4] == 2, "a short job passes the blocked head"
    assert easy[3] == 10, "the head starts when the first job's end makes room, before its shadow"
    assert easy[5] > easy[3], "a long job does not pass it"
    fcfs = played(twelve(), 4, FCFS)
    assert [fcfs[number] for number in range(1, 13)] == sorted(fcfs.values())


@pytest.mark.parametrize("policy", [EASY, FCFS], ids=["easy", "fcfs"])
def test_twelve_jobs_equal_the_reference(policy: Policy) -> None:
    assert played(twelve(), 4, policy) == start_times(twelve(), 4, policy is EASY)


@pytest.mark.parametrize("policy", [EASY, FCFS], ids=["easy", "fcfs"])
@pytest.mark.parametrize("seed", range(12))
def test_random_logs_equal_the_reference(policy: Policy, seed: int) -> None:
    """Loads from light to hopeless, many ties, estimates from exact to far too long."""
    draw = random.Random(seed)
    size = draw.choice([4, 16, 100, 1000])
    jobs = []
    submit = 0
    for number in range(1, 301):
        submit += draw.choice([0, 0, 1, 5, 60])
        run = draw.choice([1, 2, 10, 60, 600, 3600])
        estimate = draw.choice([run, run, run * 2, run + 7, 7200])
        width = min(size, draw.choice([1, 1, 2, 3, size // 4 or 1, size // 2, size]))
        jobs.append(Job(number, submit, run, max(run, estimate), width))
    assert played(jobs, size, policy) == start_times(jobs, size, policy is EASY)
