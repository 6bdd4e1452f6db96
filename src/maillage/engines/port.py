"""What a site's engine can do: the six verbs, and the values they speak.

A run is one attempt of a job at one site, known by `run_id` = `JOB.ATTEMPT`. `start` is idempotent
by it: an engine looks for what it already runs under that name first. `observe` never forgets a run
until `release` says that its end is known upstream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from maillage.workloads.lifecycle import EndReason, RunState


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """What the engine really has of a pool now."""

    pool: str
    nodes_up: int
    nodes_down: tuple[int, ...] = ()
    cpus_per_node: int = 0
    memory_mib_per_node: int = 0


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A run the network wants at this site. Digests are `sha256:...` names in the artifact store.

    `command` is an argv, run without a shell; `script` (if not empty) is a shell script, run by
    `bash` from a file. `env` is the user's; `secrets` are set as well but never written or shown.
    `placement`: (node number in the pool, workers there), in rank order. `restore` is the checkpoint
    to start from. `inputs`: (digest, folder relative to the work folder). `outputs`: patterns,
    relative to the output folder, of what is kept. `site_stops_after_s`: cut off from the network
    for so long, the site stops the run by itself; 0 means it never does. `service`: what an
    endpoint's replica serves (empty for a job), see `docs/reference/sync.md`.
    """

    run_id: str
    job_id: str
    attempt: int
    name: str
    org: str
    project: str
    pool: str
    workers: int
    placement: tuple[tuple[int, int], ...]
    command: tuple[str, ...] = ()
    script: str = ""
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    workdir: str = ""
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[str, ...] = ("**",)
    restore: str = ""
    checkpoint_interval_s: float = 0.0
    grace_s: float = 10.0
    time_limit_s: int = 0
    accelerators_per_worker: int = 0
    cpus_per_worker: int = 1
    memory_mib_per_worker: int = 0
    array_index: int = -1
    site_stops_after_s: float = 0.0
    service: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunReport:
    """What is true of a run at the site, as its engine sees it.

    Instants are Unix milliseconds, 0 where not reached. `exit_codes` by rank (a signal as
    128 + number). `message` is one line for people. `checkpoint` is the digest of the newest
    checkpoint kept upstream, `checkpoint_at_ms` when it was taken; `output` the digest of the
    outputs. `address` is where a replica answers (`http://127.0.0.1:PORT`), once it is `ready`.
    `metered_cpu_s` is CPU time used by the whole tree so far.
    """

    run_id: str
    state: RunState
    reason: EndReason | None = None
    message: str = ""
    started_at_ms: int = 0
    ended_at_ms: int = 0
    exit_codes: tuple[int, ...] = ()
    checkpoint: str = ""
    checkpoint_at_ms: int = 0
    output: str = ""
    address: str = ""
    ready: bool = False
    metered_cpu_s: float = 0.0
    enforced: tuple[str, ...] = ()  # limits the system really holds here: "cpu", "memory", "pids"


class Engine(Protocol):
    """A site's hands. Every call may be repeated; none blocks for longer than its time-out."""

    def capacity(self) -> tuple[PoolCapacity, ...]: ...

    def start(self, order: RunOrder, directory: Path) -> None:
        """Start the run in `directory`, already staged. Returns when the engine has it; a run that
        cannot start is reported by `observe` as exited or returned with its reason."""

    def stop(self, run_id: str, reason: EndReason, grace_s: float) -> None:
        """SIGTERM, `grace_s`, SIGKILL to the whole tree; the report then ends with `reason`."""

    def observe(self) -> tuple[RunReport, ...]: ...

    def logs(self, run_id: str, worker: int, offset: int, limit: int) -> bytes:
        """At most `limit` bytes of a worker's output from byte `offset` on."""

    def release(self, run_id: str) -> None:
        """Upstream knows how this run ended: it need not be observed any more."""
