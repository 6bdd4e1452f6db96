"""A plain batch scheduler to compare with: one machine of `size` processors, no shared code, slow.

Rules: at one instant ends first, then submissions, then one decision. Order is submission, then
number. FCFS starts the head while it fits. EASY also lets a job pass the blocked head if it fits now
and ends by its estimate no later than the head's shadow, or needs no more than the extra.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    number: int
    submit: int
    run: int
    estimate: int
    size: int


def start_times(jobs: list[Job], size: int, backfill: bool) -> dict[int, int]:
    """Start of every job by number."""
    coming = sorted(jobs, key=lambda job: (job.submit, job.number))
    waiting: list[Job] = []
    running: list[tuple[int, Job]] = []  # (start, job)
    starts: dict[int, int] = {}
    free = size
    next_in = 0
    while next_in < len(coming) or running or waiting:
        instants = [start + job.run for start, job in running]
        if next_in < len(coming):
            instants.append(coming[next_in].submit)
        now = min(instants)
        for start, job in list(running):
            if start + job.run == now:
                running.remove((start, job))
                free += job.size
        while next_in < len(coming) and coming[next_in].submit == now:
            waiting.append(coming[next_in])
            next_in += 1
        for job in chosen(waiting, running, free, now, backfill):
            waiting.remove(job)
            running.append((now, job))
            starts[job.number] = now
            free -= job.size
    return starts


def chosen(
    waiting: list[Job], running: list[tuple[int, Job]], free: int, now: int, backfill: bool
) -> list[Job]:
    """The jobs that start now, in order."""
    starting: list[Job] = []
    queue = list(waiting)
    while queue and queue[0].size <= free:
        starting.append(queue.pop(0))
        free -= starting[-1].size
    if not queue or not backfill:
        return starting
    head = queue.pop(0)
    ends = [(start + job.estimate, job.size) for start, job in running]
    ends += [(now + job.estimate, job.size) for job in starting]
    ends.sort()
    then_free, shadow = free, now
    for at, released in ends:
        if then_free >= head.size and at > shadow:
            break
        then_free += released
        shadow = at
    extra = then_free - head.size
    for job in queue:
        if job.size > free:
            continue
        if now + job.estimate <= shadow:
            free -= job.size
            starting.append(job)
        elif job.size <= extra:
            free -= job.size
            extra -= job.size
            starting.append(job)
    return starting
