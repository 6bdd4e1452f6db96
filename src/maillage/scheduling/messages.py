"""What the decision core hears (events) and says (commands). Plain values, JSON both ways.

Time is whole seconds since the Unix epoch (live) or the scenario's start (twin). Ids are text;
the core maps them to rows. An event about something unknown, or about an attempt that is not the
live one, changes nothing: messages may come late, twice, or never.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, ClassVar

from maillage.workloads.lifecycle import EndReason


class JobClass(IntEnum):
    """Lower goes first. Only flexible work is preempted; reserved work is never shed by itself."""

    RESERVED = 0
    STANDARD = 1
    FLEXIBLE = 2


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job asks to run: a gang of `workers`, each wanting `per_worker` accelerators on one node.

    `accelerators`: any of these kinds will do; `("cpu",)` asks for CPUs only and `per_worker`
    then counts CPUs. `cpus_per_worker` and `memory_mib_per_worker` are 0 for "the share that
    goes with the accelerators". `estimate_s` is the time limit the job is planned by; 0 means
    it does not end by itself (an endpoint's replica). `sites` and `countries` are empty for any.
    `after` holds ids of jobs that must succeed first. `spread` names a group whose members
    prefer sites with few of the group (replicas of one endpoint).
    """

    kind: ClassVar[str] = "submitted"
    job_id: str
    at_s: int
    org: str = ""
    workers: int = 1
    accelerators: tuple[str, ...] = ("cpu",)
    per_worker: int = 1
    cpus_per_worker: int = 0
    memory_mib_per_worker: int = 0
    estimate_s: int = 0
    job_class: JobClass = JobClass.STANDARD
    priority: int = 0
    sites: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    optimise: str = "wait"  # wait | carbon | price
    interruptible: bool = False
    retries: int = 0
    after: tuple[str, ...] = ()
    spread: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """The engine says that an attempt runs (it held its nodes since the command)."""

    kind: ClassVar[str] = "started"
    job_id: str
    attempt: int
    at_s: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt is over and its nodes are free. `ENDINGS[reason]` says what becomes of the job."""

    kind: ClassVar[str] = "ended"
    job_id: str
    attempt: int
    at_s: int
    reason: EndReason


@dataclass(frozen=True, slots=True)
class Adopted:
    """What another core decided about a job, told to its successor after `Submitted`.

    The attempt is live since `at_s` on these nodes; with no `site` the job waits and has had `attempt`
    attempts.
    """

    kind: ClassVar[str] = "adopted"
    job_id: str
    attempt: int
    at_s: int
    site: str = ""
    pool: str = ""
    placement: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A person wants the job gone: pending work ends at once, live work is stopped."""

    kind: ClassVar[str] = "cancel_requested"
    job_id: str
    at_s: int


@dataclass(frozen=True, slots=True)
class RequeueRequested:
    """A person wants a live job stopped and queued again."""

    kind: ClassVar[str] = "requeue_requested"
    job_id: str
    at_s: int


@dataclass(frozen=True, slots=True)
class NodesDown:
    """Nodes of a pool (numbers from 0) take no more work. What ran there is told apart by `Ended`."""

    kind: ClassVar[str] = "nodes_down"
    site: str
    pool: str
    nodes: tuple[int, ...]
    at_s: int


@dataclass(frozen=True, slots=True)
class NodesUp:
    kind: ClassVar[str] = "nodes_up"
    site: str
    pool: str
    nodes: tuple[int, ...]
    at_s: int


@dataclass(frozen=True, slots=True)
class SiteOpened:
    """A reason for a site to take no new work is gone: it was seen again, or a drain has ended."""

    kind: ClassVar[str] = "site_opened"
    site: str
    at_s: int
    reason: str = "drained"  # drained | unreachable


@dataclass(frozen=True, slots=True)
class SiteClosed:
    """A site takes no new work; what runs there runs on. `reason`: drained | unreachable."""

    kind: ClassVar[str] = "site_closed"
    site: str
    at_s: int
    reason: str = "drained"


@dataclass(frozen=True, slots=True)
class LimitChanged:
    """The site may draw `limit_kw` at its facility meter from now on; below 0 means no limit."""

    kind: ClassVar[str] = "limit_changed"
    site: str
    at_s: int
    limit_kw: float


@dataclass(frozen=True, slots=True)
class SignalChanged:
    """The site's grid carbon, price and weather at this moment, as the feeds know them."""

    kind: ClassVar[str] = "signal_changed"
    site: str
    at_s: int
    carbon_g_per_kwh: float
    price_eur_per_mwh: float
    outdoor_c: float


Event = (
    Submitted
    | Adopted
    | Started
    | Ended
    | CancelRequested
    | RequeueRequested
    | NodesDown
    | NodesUp
    | SiteOpened
    | SiteClosed
    | LimitChanged
    | SignalChanged
)


@dataclass(frozen=True, slots=True)
class Start:
    """Run attempt `attempt` of a job: `placement` is (node number in the pool, workers there)."""

    kind: ClassVar[str] = "start"
    job_id: str
    attempt: int
    site: str
    pool: str
    placement: tuple[tuple[int, int], ...]
    reason: str = ""  # why there, in one short sentence with numbers


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop an attempt; its nodes stay held until `Ended` arrives."""

    kind: ClassVar[str] = "stop"
    job_id: str
    attempt: int
    reason: EndReason


@dataclass(frozen=True, slots=True)
class Drop:
    """A job that never started is over: cancelled while it waited, or a job before it failed."""

    kind: ClassVar[str] = "drop"
    job_id: str
    reason: EndReason


Command = Start | Stop | Drop

_EVENTS: dict[str, type[Any]] = {
    cls.kind: cls
    for cls in (
        Submitted,
        Adopted,
        Started,
        Ended,
        CancelRequested,
        RequeueRequested,
        NodesDown,
        NodesUp,
        SiteOpened,
        SiteClosed,
        LimitChanged,
        SignalChanged,
    )
}
_COMMANDS: dict[str, type[Any]] = {cls.kind: cls for cls in (Start, Stop, Drop)}


def to_json(message: Event | Command) -> dict[str, Any]:
    """A JSON-ready dict with its `kind`."""
    return {"kind": message.kind, **asdict(message)}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _from_json(body: dict[str, Any], known: dict[str, type[Any]]) -> Any:
    fields = {key: _tuples(value) for key, value in body.items() if key != "kind"}
    if "reason" in fields and body["kind"] in ("ended", "stop", "drop"):
        fields["reason"] = EndReason(fields["reason"])
    if "job_class" in fields:
        fields["job_class"] = JobClass(fields["job_class"])
    return known[body["kind"]](**fields)


def event_from_json(body: dict[str, Any]) -> Event:
    event: Event = _from_json(body, _EVENTS)
    return event


def command_from_json(body: dict[str, Any]) -> Command:
    command: Command = _from_json(body, _COMMANDS)
    return command


def is_event(kind: str) -> bool:
    """Whether the core folds a log entry of this kind; the log holds other kinds beside."""
    return kind in _EVENTS
