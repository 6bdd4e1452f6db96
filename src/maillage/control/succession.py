"""A new core takes over from another: a changed network or policy, or another version of the scheduler.

Its first facts are the live jobs, as they were asked and as they run, told as events like any others: so the
log goes on, and replay begins at the newest `network` entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from maillage.control.records import Job
from maillage.control.state import State
from maillage.errors import Conflict
from maillage.network.model import Network
from maillage.scheduling.messages import Adopted, CancelRequested, Event, Submitted
from maillage.scheduling.policy import Policy
from maillage.scheduling.scheduler import Scheduler


def live_jobs(state: State, asked: Mapping[str, Submitted], now_s: int) -> list[tuple[str, Event]]:
    """What the new core must hear of every live job, oldest first, with the job's id."""
    told: list[tuple[str, Event]] = []
    for job in sorted(state.jobs.values(), key=lambda job: (job.submit_offset, job.array_index)):
        event = asked[job.job_id]
        after = tuple(before for before in event.after if before in state.jobs)
        told.append((job.job_id, replace(event, after=after, retries=job.retries_left)))
        told += [(job.job_id, event) for event in _attempts(job, now_s)]
    return told


def _attempts(job: Job, now_s: int) -> list[Event]:
    told: list[Event] = []
    if job.run is not None:
        run = job.run
        told.append(
            Adopted(job.job_id, run.attempt, run.assigned_ms // 1000, run.site, run.pool, run.placement)
        )
    elif job.runs:
        told.append(Adopted(job.job_id, job.runs[-1].attempt, now_s))
    if job.cancel_asked:
        told.append(CancelRequested(job.job_id, now_s))
    return told


def check(network: Network, policy: Policy, told: list[tuple[str, Event]]) -> None:
    """Raise Conflict when live work cannot be held by the network as it is now."""
    trial = Scheduler(network, policy)
    try:
        for _, event in told:
            trial.fold(event)
    except Conflict as trouble:
        raise Conflict(
            f"{trouble}. Start it once more with the network as it was, let that job end or cancel it, "
            "and then change the network; or give another data folder with --data"
        ) from None
