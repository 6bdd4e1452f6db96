"""What a site's engine can do: the six verbs, and the values they speak.

A run is one attempt of a job at one site, known by `run_id` = `JOB.ATTEMPT`. `start` is idempotent
by it: an engine looks for what it already runs under that name first. `observe` never forgets a run
until `release` says that its end is known upstream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from maillage.workloads.lifecycle import EndReason, RunState

if TYPE_CHECKING:
    from subprocess import Popen

SERVICE_SAYS = "maillage replica: "  # begins the line in which a service says why it ends


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

    `command` is an argv, run without a shell (`(":",)` or nothing at all is the no-op: it succeeds
    without a process); `script` (if not empty) is a shell script, run by
    `bash` from a file. `env` is the user's; `secrets` are set as well but never written or shown.
    `placement`: (node number in the pool, workers there), in rank order. `restore` is the checkpoint
    to start from; `checkpoint_path`, where it is not empty, is the folder of the work folder that it
    lies in. `inputs`: (digest, folder relative to the work folder). `outputs`: patterns,
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
    checkpoint_path: str = ""
    checkpoint_interval_s: float = 0.0
    grace_s: float = 10.0
    time_limit_s: int = 0
    accelerators_per_worker: int = 0
    cpus_per_worker: int = 1
    memory_mib_per_worker: int = 0
    array_index: int = -1
    site_stops_after_s: float = 0.0
    service: dict[str, Any] = field(default_factory=dict)

    @property
    def is_no_op(self) -> bool:
        return self.command in ((), (":",)) and not self.script

    def checkpoint_folder(self, run_folder: Path) -> Path:
        """What $MAILLAGE_CHECKPOINT_DIR names: a folder beside the work folder, or one inside it."""
        if self.checkpoint_path:
            return run_folder / "work" / self.checkpoint_path
        return run_folder / "checkpoint"


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

    def logs(self, run_id: str, worker: int, offset: int, limit: int) -> tuple[int, bytes]:
        """(offset of the first byte, at most `limit` bytes) of a worker's output from `offset` on.

        The first byte is later than asked where the engine no longer has what was before."""

    def release(self, run_id: str) -> None:
        """Upstream knows how this run ended: it need not be observed any more."""


@runtime_checkable
class Announces(Protocol):
    """An engine that says itself when there is something to look at, so that nobody polls it."""

    def fileno(self) -> int:
        """A descriptor, readable when there is news; `observe` takes it in."""

    def fresh_output(self) -> frozenset[str]:
        """Runs with output that was not there at the last call, as far as `observe` has heard."""


@runtime_checkable
class Leases(Protocol):
    """An engine whose runs stop by themselves when the site is cut off for too long."""

    def renew_leases(self, contact_s: float) -> None:
        """The network was reached by a call that was sent at `contact_s` (time.monotonic)."""


@runtime_checkable
class Shells(Protocol):
    """An engine that can put a person into a run's environment."""

    def open_shell(self, run_id: str, worker: int, terminal: int) -> Popen[bytes] | None:
        """A shell on the terminal's descriptor; None where that worker is not running."""
