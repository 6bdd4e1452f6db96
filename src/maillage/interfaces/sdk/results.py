"""What the network answers, as light typed values. `raw` is the API's own JSON, whole.

No Pydantic here: a command that lists jobs must not pay for a validator. Unknown keys are kept in
`raw` and missing ones take a default, so that an older client reads a newer network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ENDED = frozenset({"succeeded", "failed", "cancelled"})
Json = dict[str, Any]


def instant(text: Any) -> datetime | None:
    """An ISO 8601 instant of the API, or None where it has not come yet."""
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One attempt of a job at one site."""

    run_id: str
    attempt: int
    site: str
    pool: str
    state: str
    reason: str
    why_here: str
    exit_codes: tuple[int, ...]
    checkpoint: str
    restored_from: str
    metered_cpu_s: float
    started_at: datetime | None
    ended_at: datetime | None
    raw: Json = field(repr=False)

    @classmethod
    def read(cls, body: Json) -> RunInfo:
        return cls(
            run_id=body.get("run_id") or "",
            attempt=int(body.get("attempt") or 0),
            site=body.get("site") or "",
            pool=body.get("pool") or "",
            state=body.get("state") or "",
            reason=body.get("reason") or "",
            why_here=body.get("why_here") or "",
            exit_codes=tuple(body.get("exit_codes") or ()),
            checkpoint=body.get("checkpoint") or "",
            restored_from=body.get("restored_from") or "",
            metered_cpu_s=float(body.get("metered_cpu_s") or 0.0),
            started_at=instant(body.get("started_at")),
            ended_at=instant(body.get("ended_at")),
            raw=body,
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a job cost. Credits are whole millionths; energy at the facility's meter, in kWh."""

    wait_s: float
    accelerator_s: float
    credits_micros: int
    energy_kwh: float
    carbon_g: float
    sites: tuple[str, ...]
    raw: Json = field(repr=False)

    @classmethod
    def read(cls, body: Json) -> Receipt:
        return cls(
            wait_s=float(body.get("wait_s") or 0.0),
            accelerator_s=float(body.get("accelerator_s") or 0.0),
            credits_micros=int(body.get("credits_micros") or 0),
            energy_kwh=float(body.get("energy_kwh") or 0.0),
            carbon_g=float(body.get("carbon_g") or 0.0),
            sites=tuple(str(stay.get("site")) for stay in body.get("sites") or ()),
            raw=body,
        )


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job waits (or stands as it does): the first thing that binds, and what would mend it."""

    reason: str
    detail: str
    mend: str
    expected_start: datetime | None
    raw: Json = field(repr=False)

    @classmethod
    def read(cls, body: Json) -> Why:
        return cls(
            reason=body.get("reason") or "",
            detail=body.get("detail") or "",
            mend=body.get("mend") or "",
            expected_start=instant(body.get("expected_start")),
            raw=body,
        )


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as the network knows it now. `array` holds the ids of all elements of an array job."""

    id: str
    name: str
    project: str
    state: str
    reason: str
    site: str
    attempts: int
    array: tuple[str, ...]
    runs: tuple[RunInfo, ...]
    receipt: Receipt | None
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    raw: Json = field(repr=False)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"

    @classmethod
    def read(cls, body: Json) -> JobInfo:
        return cls(
            id=body["id"],
            name=body.get("name") or "",
            project=body.get("project") or "",
            state=body.get("state") or "",
            reason=body.get("reason") or "",
            site=body.get("site") or "",
            attempts=int(body.get("attempts") or 0),
            array=tuple(body.get("array") or ()),
            runs=tuple(RunInfo.read(run) for run in body.get("runs") or ()),
            receipt=Receipt.read(body["receipt"]) if body.get("receipt") else None,
            submitted_at=instant(body.get("submitted_at")),
            started_at=instant(body.get("started_at")),
            ended_at=instant(body.get("ended_at")),
            raw=body,
        )


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """An endpoint: its name is the `model` of a chat request."""

    name: str
    state: str
    ready: int
    raw: Json = field(repr=False)

    @classmethod
    def read(cls, body: Json) -> EndpointInfo:
        ready = body.get("ready", body.get("replicas_ready", 0))
        return cls(name=body["name"], state=body.get("state") or "", ready=int(ready or 0), raw=body)


@dataclass(frozen=True, slots=True)
class SiteInfo:
    id: str
    state: str
    power_kw: float
    limit_kw: float | None
    raw: Json = field(repr=False)

    @classmethod
    def read(cls, body: Json) -> SiteInfo:
        return cls(
            id=body["id"],
            state=body.get("state") or "",
            power_kw=float(body.get("power_kw") or 0.0),
            limit_kw=body.get("limit_kw"),
            raw=body,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of jobs, newest first; `next` is the cursor of the following page, empty at the end."""

    items: tuple[JobInfo, ...]
    next: str
    raw: Json = field(repr=False)

    @classmethod
    def read(cls, body: Json) -> Page:
        items = tuple(JobInfo.read(item) for item in body.get("items") or ())
        return cls(items, str(body.get("next") or ""), body)
