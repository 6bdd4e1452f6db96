"""A job's receipt: where, why there, how long, credits, kWh, gCO2e, and how each figure is known.

Pure assembly of three accounts that do not know each other: held time and credits (`accounts.usage`),
energy and carbon (`energy.hours`), and the runs of the log. Every figure can be computed again from
the runs and the signals: docs/reference/receipt.md says how. A receipt never guesses: a site without
signals has no energy, and then the total has none either; `notes` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import Any

from maillage.accounts.usage import Interval, shares, usage
from maillage.energy.hours import NOTHING, Drawn, Held, SiteHours, drawn_by_run
from maillage.energy.power import unit_power
from maillage.errors import NotFound, OutOfRange
from maillage.network.model import Network, Pool
from maillage.workloads.lifecycle import ENDINGS, EndReason

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HeldRun:
    """One attempt as a receipt needs it. Instants are Unix milliseconds, 0 where not reached.

    `units`: accelerators held over the whole gang, or CPUs in a pool that has none. `metered_cpu_s`:
    None where nothing was metered, also where a meter never reported. `reason` is None while it lives.
    """

    attempt: int
    site: str
    pool: str
    started_at_ms: int
    ended_at_ms: int
    units: int
    reason: EndReason | None = None
    metered_cpu_s: float | None = None
    why_here: str = ""


@dataclass(frozen=True, slots=True)
class _Stay:
    """A run joined with its pool: None where the network does not have that pool any more."""

    run: HeldRun
    pool: Pool | None
    interval: Interval
    drawn: Drawn | None
    method: str


def receipt(
    submitted_at_ms: int,
    runs: Sequence[HeldRun],
    network: Network,
    hours: Mapping[str, SiteHours],
    now_ms: int,
) -> Json:
    """The receipt of a job with these attempts, JSON-ready; see docs/reference/receipt.md for its keys.

    A run that lives is counted until `now_ms`; one that never started costs nothing and is left out.
    """
    notes: list[str] = []
    stays = [_stay(run, network, hours, now_ms, notes) for run in runs if run.started_at_ms]
    bill = usage(stay.interval for stay in stays)
    parts = shares(stay.interval for stay in stays)
    known = [stay.drawn for stay in stays if stay.drawn is not None]
    total = reduce(add, known, NOTHING) if len(known) == len(stays) else None
    first_start_ms = stays[0].interval.from_ms if stays else None
    return {
        "wait_s": None if first_start_ms is None else max(0, first_start_ms - submitted_at_ms) / 1000,
        "accelerator_s": bill.unit_ms / 1000,
        "cpu_s": _cpu_s(stay.run.metered_cpu_s for stay in stays),
        "credits_micros": bill.credits_micros,
        "waived_credits_micros": bill.waived_micros,
        **_energy(total),
        "energy_method": _joined(stay.method for stay in stays),
        "sites": [_stay_json(stay, cost) for stay, cost in zip(stays, parts, strict=True)],
        "signals": _signals([hours[stay.run.site] for stay in stays if stay.drawn is not None]),
        "notes": notes,
        "final": all(run.reason is not None for run in runs),
    }


def quote(
    pool: Pool, units: int, from_ms: int, to_ms: int, hours: Mapping[str, SiteHours], attempt: int = 1
) -> Json:
    """{credits_micros, energy_kwh, carbon_g, ...} of units that would be held over a span to come.

    The same arithmetic as a receipt's, on the signals as they stand; nothing is metered yet.
    """
    interval = Interval(pool.site, pool.id, from_ms, to_ms, units, pool.price_credit_micros)
    notes: list[str] = []
    run = HeldRun(attempt, pool.site, pool.id, from_ms, to_ms, units)
    spent, method = _drawn(run, pool, interval, hours, notes)
    cost = usage([interval])
    return {
        "accelerator_s": cost.unit_ms / 1000,
        "credits_micros": cost.credits_micros,
        **_energy(spent),
        "energy_method": method,
        "notes": notes,
    }


def _stay(
    run: HeldRun, network: Network, hours: Mapping[str, SiteHours], now_ms: int, notes: list[str]
) -> _Stay:
    pool: Pool | None = None
    try:
        pool = network.pool(run.site, run.pool)
    except NotFound as trouble:
        notes.append(f"attempt {run.attempt}: {trouble}; its price and power are not known any more")
    end_ms = run.ended_at_ms or now_ms
    if end_ms < run.started_at_ms:
        notes.append(
            f"attempt {run.attempt}: it ended before it started by its site's clock; nothing is charged"
        )
    interval = Interval(
        site=run.site,
        pool=run.pool,
        from_ms=run.started_at_ms,
        to_ms=max(run.started_at_ms, end_ms),
        units=run.units,
        price_micros=pool.price_credit_micros if pool else 0,
        charged=run.reason is None or ENDINGS[run.reason].charged,
        metered_cpu_s=run.metered_cpu_s,
    )
    spent, method = _drawn(run, pool, interval, hours, notes)
    return _Stay(run, pool, interval, spent, method)


def _drawn(
    run: HeldRun, pool: Pool | None, interval: Interval, hours: Mapping[str, SiteHours], notes: list[str]
) -> tuple[Drawn | None, str]:
    """Energy of a stay; none, with a note, where the site has no pool, no signals, or none for then."""
    if pool is None:
        return None, ""
    if run.site not in hours:
        notes.append(f"attempt {run.attempt}: no carbon, price and weather known for site {run.site}")
        return None, ""
    # a CPU meter says what CPUs did; it says nothing of accelerators
    metered_cpu_s = run.metered_cpu_s if pool.is_cpu else None
    held = Held(run.units, interval.from_ms / 1000, interval.to_ms / 1000, metered_cpu_s)
    try:
        return drawn_by_run(hours[run.site], unit_power(pool), held)
    except OutOfRange as trouble:
        notes.append(f"attempt {run.attempt}: energy not known: {trouble}")
        return None, ""


def _stay_json(stay: _Stay, cost_micros: int) -> Json:
    run = stay.run
    return {
        "attempt": run.attempt,
        "site": run.site,
        "pool": run.pool,
        "accelerator": stay.pool.accelerator if stay.pool else None,
        "units": run.units,
        "why_here": run.why_here,
        "from": _iso(stay.interval.from_ms),
        "to": _iso(stay.interval.to_ms),
        "reason": run.reason.value if run.reason else None,
        "charged": stay.interval.charged,
        "accelerator_s": stay.interval.unit_ms / 1000,
        "cpu_s": run.metered_cpu_s,
        "unit_watts": asdict(unit_power(stay.pool)) if stay.pool else None,
        "price_credits_micros": stay.interval.price_micros,
        "credits_micros": cost_micros,
        **_energy(stay.drawn),
        "energy_method": stay.method,
    }


def _energy(spent: Drawn | None) -> Json:
    if spent is None:
        return {"energy_it_kwh": None, "energy_kwh": None, "carbon_g": None, "electricity_eur": None}
    return {
        "energy_it_kwh": spent.it_kwh,
        "energy_kwh": spent.facility_kwh,
        "carbon_g": spent.carbon_g,
        "electricity_eur": spent.cost_eur,
    }


def _signals(used: Sequence[SiteHours]) -> dict[str, Json]:
    """What the figures rest on: `carbon`, `price` and `outdoor`, each with where it comes from."""
    if not used:
        return {}
    told: dict[str, Json] = {}
    for kind in ("carbon", "price", "outdoor"):
        abouts = [asdict(getattr(hours, kind).about) for hours in used]
        fields = ("name", "unit", "method", "boundary", "source", "vintage")
        told[kind] = {field: _joined(about[field] for about in abouts) for field in fields}
        told[kind]["repaired"] = max(about["repaired"] for about in abouts)
    return told


def _joined(texts: Any) -> str:
    """Each text once, in order."""
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _cpu_s(metered: Any) -> float | None:
    known = [cpu_s for cpu_s in metered if cpu_s is not None]
    return sum(known) if known else None


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
