"""What the page shows, in words and numbers: made from the service's own answers, drawn by the template."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maillage.control.service import Service
from maillage.interfaces.console.outline import Marker, markers

Json = Mapping[str, Any]

_JOBS_SHOWN = 40
_ORDER = ("running", "scheduled", "pending", "succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Meter:
    """A bar: `part` of `whole` as `words`; `share` is 0 to 1, `level` is calm, busy or full."""

    words: str
    share: float

    @property
    def level(self) -> str:
        return "full" if self.share >= 0.95 else "busy" if self.share >= 0.75 else "calm"

    @property
    def width(self) -> float:
        return round(100 * min(max(self.share, 0.0), 1.0), 1)


@dataclass(frozen=True, slots=True)
class SiteRow:
    id: str
    place: str
    state: str
    kinds: str
    load: Meter
    power: Meter
    signals: str
    runs: int


@dataclass(frozen=True, slots=True)
class JobRow:
    id: str
    name: str
    project: str
    state: str
    site: str
    what: str
    age: str
    at: str


@dataclass(frozen=True, slots=True)
class EndpointRow:
    name: str
    project: str
    state: str
    replicas: str
    sites: str


@dataclass(frozen=True, slots=True)
class Tile:
    what: str
    number: str
    unit: str
    note: str


@dataclass(frozen=True, slots=True)
class Picture:
    network: str
    version: str
    offset: int
    tiles: tuple[Tile, ...]
    counts: tuple[tuple[str, int], ...]
    sites: tuple[SiteRow, ...]
    markers: tuple[Marker, ...]
    jobs: tuple[JobRow, ...]
    endpoints: tuple[EndpointRow, ...]
    trouble: str


async def picture(service: Service, projects: set[str] | None) -> Picture:
    """One consistent enough look: everything is asked for within a moment."""
    status, sites, page, endpoints = await asyncio.gather(
        service.status(),
        service.sites(),
        service.jobs(projects, limit=_JOBS_SHOWN),
        service.endpoints(projects),
    )
    whys = await _whys(service, page["items"])
    counts = status.get("jobs") or {}
    now = datetime.now(UTC)
    return Picture(
        network=str(status.get("network") or "maillage"),
        version=str(status.get("version") or ""),
        offset=int(status.get("log_offset") or 0),
        tiles=_tiles(counts, sites),
        counts=tuple((state, int(counts[state])) for state in _ORDER if counts.get(state)),
        sites=tuple(_site(site) for site in sites),
        markers=tuple(markers(sites)),
        jobs=tuple(_job(job, whys, now) for job in page["items"]),
        endpoints=tuple(_endpoint(endpoint) for endpoint in endpoints),
        trouble=str(status.get("refusing") or ""),
    )


async def _whys(service: Service, jobs: Sequence[Json]) -> dict[str, str]:
    """Why each job waits, which the list tells already, or why it is where it is."""
    whys = {str(job["id"]): str(job.get("why") or "") for job in jobs}
    placed = [str(job["id"]) for job in jobs if job["state"] in ("scheduled", "running")]
    answers = await asyncio.gather(*(service.why(job_id) for job_id in placed))
    for job_id, answer in zip(placed, answers, strict=True):
        whys[job_id] = str(answer.get("detail") or "").split("; ", 1)[-1]
    return whys


def _tiles(counts: Json, sites: Sequence[Json]) -> tuple[Tile, ...]:
    pools = [pool for site in sites for pool in site.get("pools") or ()]
    gpus = [pool for pool in pools if pool.get("accelerator") != "cpu"]
    shown = gpus or pools
    total = sum(pool["units_total"] for pool in shown)
    held = total - sum(pool["units_free"] for pool in shown)
    facility_kw = sum(site.get("facility_kw") or 0.0 for site in sites)
    limits = [site["limit_kw"] for site in sites if site.get("limit_kw") is not None]
    power, unit = power_in_words(facility_kw)
    carbon = _mean(
        [site.get("carbon_g_per_kwh") for site in sites], [site.get("facility_kw") for site in sites]
    )
    open_sites = sum(site.get("state") == "open" for site in sites)
    waiting = int(counts.get("pending") or 0)
    return (
        Tile("running", whole(int(counts.get("running") or 0) + int(counts.get("scheduled") or 0)), "jobs",
             f"{whole(waiting)} waiting"),
        Tile("accelerators" if gpus else "processors", whole(held), f"of {whole(total)}",
             f"{100 * held / total:.0f} % held" if total else "none"),
        Tile("power", power, unit, "of " + " ".join(power_in_words(sum(limits))) if limits else "no limit"),
        Tile("grid carbon", f"{carbon:.0f}" if carbon is not None else "–", "g/kWh",
             "weighted by power" if carbon is not None else "no signal"),
        Tile("sites", str(open_sites), f"of {len(sites)} open", _unwell(sites)),
    )  # fmt: skip


def _unwell(sites: Sequence[Json]) -> str:
    unwell = [f"{site['id']} {site['state']}" for site in sites if site.get("state") != "open"]
    return ", ".join(unwell[:2]) + (f" and {len(unwell) - 2} more" if len(unwell) > 2 else "") or "all well"


def _site(site: Json) -> SiteRow:
    pools = site.get("pools") or ()
    total = sum(pool["units_total"] for pool in pools)
    held = total - sum(pool["units_free"] for pool in pools)
    kinds = ", ".join(
        sorted({"CPU" if pool["accelerator"] == "cpu" else pool["accelerator"] for pool in pools})
    )
    drawn, limit = site.get("facility_kw") or 0.0, site.get("limit_kw")
    words = " ".join(power_in_words(drawn)) + (
        f" of {' '.join(power_in_words(limit))}" if limit is not None else ""
    )
    signals = []
    if site.get("carbon_g_per_kwh") is not None:
        signals.append(f"{site['carbon_g_per_kwh']:.0f} g/kWh")
    if site.get("price_eur_per_mwh") is not None:
        signals.append(f"{site['price_eur_per_mwh']:.0f} €/MWh")
    if site.get("pue") is not None:
        signals.append(f"PUE {site['pue']:.2f}")
    place, runs = site.get("place") or {}, site.get("runs") or 0
    return SiteRow(
        id=str(site["id"]),
        place=str(place.get("country") or ""),
        state=str(site.get("state") or ""),
        kinds=kinds,
        load=Meter(f"{whole(held)} of {whole(total)} held", held / total if total else 0.0),
        power=Meter(words, drawn / limit if limit else 0.0),
        signals=" · ".join(signals),
        runs=runs if isinstance(runs, int) else len(runs),
    )


def _job(job: Json, whys: Mapping[str, str], now: datetime) -> JobRow:
    state = str(job["state"])
    since = job.get("ended_at") or job.get("started_at") or job.get("submitted_at")
    what = whys[str(job["id"])] or str(job.get("message") or "")
    if not what and state in ("failed", "cancelled"):
        what = str(job.get("reason") or "").replace("_", " ")
    attempts = int(job.get("attempts") or 0)
    if attempts > 1:
        what = f"attempt {attempts}" + (f" · {what}" if what else "")
    return JobRow(
        id=str(job["id"]),
        name=str(job["name"]) + (f"[{job['array_index']}]" if job.get("array_index") is not None else ""),
        project=str(job["project"]),
        state=state,
        site=str(job.get("site") or ""),
        what=what,
        age=age_in_words(since, now),
        at=str(since or ""),
    )


def _endpoint(endpoint: Json) -> EndpointRow:
    replicas = endpoint.get("replicas") or ()
    ready = sum(bool(replica.get("ready")) for replica in replicas)
    wanted = endpoint.get("wanted", len(replicas))
    return EndpointRow(
        name=str(endpoint["name"]),
        project=str(endpoint.get("project") or ""),
        state=str(endpoint.get("state") or ""),
        replicas=f"{ready} of {wanted} ready",
        sites=", ".join(sorted({str(replica["site"]) for replica in replicas if replica.get("site")})),
    )


def _mean(values: Sequence[float | None], weights: Sequence[float | None]) -> float | None:
    """Weighted by `weights`, plain where nothing draws; None where nothing is known."""
    pairs = [
        (value, weight or 0.0) for value, weight in zip(values, weights, strict=True) if value is not None
    ]
    if not pairs:
        return None
    weight = sum(weight for _, weight in pairs)
    if not weight:
        return sum(value for value, _ in pairs) / len(pairs)
    return sum(value * weight for value, weight in pairs) / weight


def whole(number: int) -> str:
    """
    >>> whole(25000)
    '25 000'
    """
    return f"{number:,}".replace(",", " ")


def power_in_words(power_kw: float) -> tuple[str, str]:
    """Three figures and a unit.

    >>> power_in_words(0.0517), power_in_words(12.34), power_in_words(240_000)
    (('52', 'W'), ('12.3', 'kW'), ('240', 'MW'))
    """
    if power_kw >= 1000:
        return f"{power_kw / 1000:.3g}" if power_kw < 1e6 else whole(round(power_kw / 1000)), "MW"
    if power_kw >= 1:
        return f"{power_kw:.3g}" if power_kw < 999.5 else "1000", "kW"
    return f"{power_kw * 1000:.0f}", "W"


def age_in_words(instant: str | None, now: datetime) -> str:
    """
    >>> age_in_words("2026-01-01T00:00:00.000Z", datetime(2026, 1, 1, 0, 3, tzinfo=UTC))
    '3 min'
    """
    if not instant:
        return ""
    seconds = max((now - datetime.fromisoformat(instant.replace("Z", "+00:00"))).total_seconds(), 0.0)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
