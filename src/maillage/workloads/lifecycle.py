"""Job and run, two machines in one transition table that code, tests and docs all read.

A job is what was asked for; a run is one attempt of it at one site. Why a run ended is a closed
enum that decides three things: what becomes of the job, whether a retry is used up, and whether
the time is charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class RunState(StrEnum):
    ASSIGNED = "assigned"  # decided and durable, the site has not been told or has not answered
    ACCEPTED = "accepted"  # the site has it
    STARTING = "starting"  # files are being brought, processes are being made
    RUNNING = "running"
    EXITED = "exited"  # ended, for a reason below
    RETURNED = "returned"  # the site gave it back before it started: costs no retry
    EXPIRED = "expired"  # its lease was lost and the job's own choice said to replace or stop it
    UNREACHABLE = "unreachable"  # we cannot see it: not failed

    @property
    def ended(self) -> bool:
        return self in (RunState.EXITED, RunState.RETURNED, RunState.EXPIRED)


class EndReason(StrEnum):
    """Why a run ended. Closed: an engine maps whatever it sees onto one of these."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # a worker's command exited with another code than 0, or by a signal
    COMMAND_NOT_FOUND = "command_not_found"
    TIMED_OUT = "timed_out"  # the job's own time limit
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"  # the site's disk
    INPUT_MISSING = "input_missing"  # an input or work folder could not be brought
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    REQUEUED = "requeued"  # by a person
    RETURNED = "returned"  # the site refused it or could not start it
    NODE_LOST = "node_lost"
    SITE_LOST = "site_lost"  # cut off for longer than the job allows
    DEPENDENCY_FAILED = "dependency_failed"  # a job it comes `after` did not succeed


@dataclass(frozen=True, slots=True)
class Ending:
    """What an `EndReason` means. `job` is the state the job goes to where it has retries left.

    `uses_retry`: the job fails instead of going back to pending when its retries are used up.
    `charged`: the user pays for the accelerator-seconds of that run.
    """

    run: RunState
    job: JobState
    uses_retry: bool
    charged: bool


_P, _S, _F, _C = JobState.PENDING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED

ENDINGS: dict[EndReason, Ending] = {
    EndReason.SUCCEEDED: Ending(RunState.EXITED, _S, uses_retry=False, charged=True),
    EndReason.FAILED: Ending(RunState.EXITED, _P, uses_retry=True, charged=True),
    EndReason.COMMAND_NOT_FOUND: Ending(RunState.EXITED, _F, uses_retry=False, charged=True),
    EndReason.TIMED_OUT: Ending(RunState.EXITED, _F, uses_retry=False, charged=True),
    EndReason.OUT_OF_MEMORY: Ending(RunState.EXITED, _P, uses_retry=True, charged=True),
    EndReason.DISK_FULL: Ending(RunState.EXITED, _P, uses_retry=True, charged=False),
    EndReason.INPUT_MISSING: Ending(RunState.EXITED, _F, uses_retry=False, charged=False),
    EndReason.CANCELLED: Ending(RunState.EXITED, _C, uses_retry=False, charged=True),
    EndReason.PREEMPTED: Ending(RunState.EXITED, _P, uses_retry=False, charged=True),
    EndReason.REQUEUED: Ending(RunState.EXITED, _P, uses_retry=False, charged=True),
    EndReason.RETURNED: Ending(RunState.RETURNED, _P, uses_retry=False, charged=False),
    EndReason.NODE_LOST: Ending(RunState.EXITED, _P, uses_retry=False, charged=False),
    EndReason.SITE_LOST: Ending(RunState.EXPIRED, _P, uses_retry=False, charged=False),
    EndReason.DEPENDENCY_FAILED: Ending(RunState.RETURNED, _C, uses_retry=False, charged=False),
}

JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.SCHEDULED, _C, _F}),
    JobState.SCHEDULED: frozenset({JobState.RUNNING, _P, _S, _F, _C}),
    JobState.RUNNING: frozenset({_P, _S, _F, _C}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

_ENDS = frozenset({RunState.EXITED, RunState.RETURNED, RunState.EXPIRED})

RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.ASSIGNED: frozenset(
        {RunState.ACCEPTED, RunState.STARTING, RunState.RUNNING, RunState.UNREACHABLE}
    )
    | _ENDS,
    RunState.ACCEPTED: frozenset({RunState.STARTING, RunState.RUNNING, RunState.UNREACHABLE}) | _ENDS,
    RunState.STARTING: frozenset({RunState.RUNNING, RunState.UNREACHABLE}) | _ENDS,
    RunState.RUNNING: frozenset({RunState.UNREACHABLE}) | _ENDS,
    RunState.UNREACHABLE: frozenset({RunState.ACCEPTED, RunState.STARTING, RunState.RUNNING}) | _ENDS,
    RunState.EXITED: frozenset(),
    RunState.RETURNED: frozenset(),
    RunState.EXPIRED: frozenset(),
}


def after_ending(reason: EndReason, retries_left: int) -> JobState:
    """The state a job goes to when its run ended for `reason`.

    >>> after_ending(EndReason.FAILED, retries_left=0)
    <JobState.FAILED: 'failed'>
    >>> after_ending(EndReason.SITE_LOST, retries_left=0)
    <JobState.PENDING: 'pending'>
    """
    ending = ENDINGS[reason]
    if ending.uses_retry and retries_left <= 0:
        return JobState.FAILED
    return ending.job


def table_markdown() -> str:
    """The tables and the two machines, for docs/reference/lifecycle.md (a test compares them)."""
    rows = [
        "| a run ended because | run becomes | job becomes | uses a retry | charged |",
        "|---|---|---|---|---|",
    ]
    for reason, ending in ENDINGS.items():
        job = f"{ending.job}; failed without retries left" if ending.uses_retry else str(ending.job)
        retry, charged = ("yes" if flag else "no" for flag in (ending.uses_retry, ending.charged))
        rows.append(f"| {reason} | {ending.run} | {job} | {retry} | {charged} |")
    return "\n\n".join(
        (
            "## Job\n\n" + _diagram(JOB_TRANSITIONS, JobState.PENDING),
            "## Run\n\n" + _diagram(RUN_TRANSITIONS, RunState.ASSIGNED),
            "## Endings\n\n" + "\n".join(rows),
        )
    )


def _diagram(transitions: Mapping[Any, frozenset[Any]], first: StrEnum) -> str:
    """A Mermaid state diagram, in the order of the enum."""
    states = list(transitions)
    arrows = [f"    [*] --> {first}"]
    for state in states:
        arrows += [f"    {state} --> {to}" for to in states if to in transitions[state]]
        arrows += [] if transitions[state] else [f"    {state} --> [*]"]
    return "\n".join(("```mermaid", "stateDiagram-v2", *arrows, "```"))
