"""The one call between a site's agent and the control plane, level-triggered and idempotent.

`POST /api/v1/sites/{site}/sync`. The agent tells all runs it has or has not yet seen
acknowledged; the answer tells all runs it should have. A run that is desired and unknown to the agent is
started; a run the agent reports that is neither desired nor in `stop` is over upstream and is released.
Late or doubled calls change nothing: `seq` grows within an `incarnation`.
"""

from __future__ import annotations

from dataclasses import field

from pydantic.dataclasses import dataclass

from maillage.engines.port import PoolCapacity, RunOrder, RunReport
from maillage.workloads.lifecycle import EndReason

PROTOCOL_VERSION = 1


@dataclass(frozen=True)
class SyncRequest:
    """`known`: run ids the agent has or is staging, so that their orders need not be sent again.

    `wait_s`: how long the answer may be held when there is nothing new (long poll); `version_seen`
    is the `version` of the last answer, so that "new" is exact. `reports`: every run with news or alive.
    """

    incarnation: str
    seq: int
    protocol: int = PROTOCOL_VERSION
    engine: str = "local"
    capacity: tuple[PoolCapacity, ...] = ()
    reports: tuple[RunReport, ...] = ()
    known: tuple[str, ...] = ()
    version_seen: int = -1
    wait_s: float = 0.0


@dataclass(frozen=True)
class StopOrder:
    run_id: str
    reason: EndReason
    grace_s: float


@dataclass(frozen=True)
class ShellOrder:
    """A person wants a shell in a run's environment: dial out to the shell's websocket."""

    shell_id: str
    run_id: str
    worker: int = 0


@dataclass(frozen=True)
class SyncResponse:
    """`desired`: ids of all runs the site should have; `orders`: the full orders of those it does
    not know yet. `released`: ids whose end is durably known upstream. `version` grows whenever
    this site's desired state changes."""

    version: int
    desired: tuple[str, ...] = ()
    orders: tuple[RunOrder, ...] = ()
    stop: tuple[StopOrder, ...] = ()
    released: tuple[str, ...] = ()
    shells: tuple[ShellOrder, ...] = ()
    next_s: float = 0.0


@dataclass(frozen=True)
class LogChunk:
    """Bytes of a worker's output from `offset`, as base64; the same chunk twice changes nothing."""

    run_id: str
    worker: int
    offset: int
    data_b64: str
    final: bool = False


@dataclass(frozen=True)
class LogPush:
    chunks: tuple[LogChunk, ...] = field(default_factory=tuple)
