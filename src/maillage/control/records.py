"""What the loop keeps in memory: live jobs, their runs, the sites, the endpoints.

Only `state.py` changes them, and only by folding a log entry. Instants are Unix milliseconds, 0 for never.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maillage.engines.port import PoolCapacity
from maillage.scheduling.replicas import ReplicaCount
from maillage.workloads.lifecycle import EndReason, JobState, RunState


@dataclass(slots=True)
class Run:
    """One attempt at one site. `accepted`: the site has said that it has it."""

    run_id: str
    job_id: str
    attempt: int
    site: str
    pool: str
    placement: tuple[tuple[int, int], ...]
    why_here: str
    assigned_ms: int
    start_offset: int
    restored_from: str = ""
    state: RunState = RunState.ASSIGNED
    accepted: bool = False
    reason: EndReason | None = None
    message: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    exit_codes: tuple[int, ...] = ()
    checkpoint: str = ""
    checkpoint_ms: int = 0
    output: str = ""
    address: str = ""
    ready: bool = False
    metered_cpu_s: float = 0.0
    stop: EndReason | None = None  # ordered to stop, for this
    stop_offset: int = 0
    unreachable_ms: int = 0  # since when nobody sees it


@dataclass(frozen=True, slots=True)
class Terms:
    """What the fold needs of a spec, so that no log needs the spec's reader of its day."""

    workers: int = 1
    job_class: str = "standard"
    priority: int = 0
    retries: int = 0
    keep_for_ms: int = 600_000
    replace_when_lost: bool = True


@dataclass(slots=True)
class Job:
    """`checkpoint` is the newest of any attempt; `runs` are all attempts, the live one last."""

    job_id: str
    name: str
    org: str
    project: str
    user: str
    kind: str  # job | replica
    endpoint: str
    spec_digest: str
    submitted_ms: int
    submit_offset: int
    array_id: str
    array_index: int
    terms: Terms
    retries_left: int
    state: JobState = JobState.PENDING
    reason: str = ""
    message: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    site: str = ""
    checkpoint: str = ""
    checkpoint_ms: int = 0
    output: str = ""
    cancel_asked: bool = False
    returned_in_a_row: int = 0
    drop_offset: int = 0
    runs: list[Run] = field(default_factory=list)
    run: Run | None = None  # the live one

    @property
    def attempts(self) -> int:
        return len(self.runs)


@dataclass(slots=True)
class SiteRecord:
    """`version` is the offset of the last entry that changed what the site should have."""

    site_id: str
    reachable: bool = False
    drained: bool = False
    drain_reason: str = ""
    limit_kw: float | None = None
    incarnation: str = ""
    former_incarnations: list[str] = field(default_factory=list)
    engine: str = ""
    capacity: tuple[PoolCapacity, ...] = ()
    version: int = 0
    live: dict[str, Run] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.reachable and not self.drained

    @property
    def state(self) -> str:
        if not self.reachable:
            return "unreachable"
        return "drained" if self.drained else "open"


@dataclass(slots=True)
class EndpointRecord:
    """An endpoint and its live replicas. `failures` in a row decide how long the next start waits."""

    name: str
    org: str
    project: str
    user: str
    spec: dict[str, Any]
    spec_digest: str
    created_ms: int
    replicas_min: int
    replicas_max: int
    count: ReplicaCount
    failures: int = 0
    failed_ms: int = 0
    message: str = ""
    stuck: bool = False  # what it serves can never come; a new spec is needed
    replicas: dict[str, Job] = field(default_factory=dict)
    retiring: set[str] = field(default_factory=set)  # asked to end, or of an older spec
