"""What the sites' grids and skies say now, for the core, the receipts and the people who look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from maillage.control.receipts import HeldRun, receipt
from maillage.control.records import Job
from maillage.control.round import Round
from maillage.control.state import Changes
from maillage.energy.cooling import pue_curve
from maillage.energy.hours import SiteHours, moment, site_hours
from maillage.energy.power import pool_it_kw, unit_power
from maillage.errors import OutOfRange
from maillage.feeds.recorded import Signals
from maillage.network.model import Network, Site
from maillage.scheduling.messages import SignalChanged
from maillage.scheduling.scheduler import PoolLoad

_HOUR_MS = 3_600_000


class SiteSignals:
    """Signals by site id; a site without any has no energy figures, and the core hears nothing of it."""

    def __init__(self, network: Network, signals: Mapping[str, Signals]) -> None:
        self._network = network
        self.hours: dict[str, SiteHours] = {}
        for site in network.sites:
            if site.id in signals:
                given = signals[site.id]
                curve = pue_curve(site.cooling.kind, site.cooling.supply_c)
                self.hours[site.id] = site_hours(given.carbon, given.price, given.outdoor, curve)
        self._told_hour = -1

    def look(self, round_: Round) -> None:
        """The loop's chore: tell the core at the start and then every hour."""
        hour = round_.at_ms // _HOUR_MS
        if hour == self._told_hour:
            return
        self._told_hour = hour
        for site_id, hours in self.hours.items():
            try:
                now = moment(hours, 0.0, float(round_.now_s))
            except OutOfRange:
                continue  # the record does not cover today: receipts say so too
            round_.tell(
                SignalChanged(
                    site_id, round_.now_s, now.carbon_g_per_kwh, now.price_eur_per_mwh, now.outdoor_c
                )
            )

    def site_now(self, site: Site, loads: list[PoolLoad], at_s: float) -> dict[str, Any]:
        """Power and signals of a site, JSON-ready; None where they are not known."""
        it_kw = sum(
            pool_it_kw(
                unit_power(site.pool(load.pool)), load.units_total, max(0, load.units_total - load.units_free)
            )
            for load in loads
        )
        shown: dict[str, Any] = {"power_kw": it_kw, "facility_kw": None, "pue": None, "outdoor_c": None}
        shown |= {"carbon_g_per_kwh": None, "price_eur_per_mwh": None}
        if site.id not in self.hours:
            return shown
        try:
            now = moment(self.hours[site.id], it_kw, at_s)
        except OutOfRange:
            return shown
        return {
            "power_kw": now.it_kw,
            "facility_kw": now.facility_kw,
            "pue": now.pue,
            "outdoor_c": now.outdoor_c,
            "carbon_g_per_kwh": now.carbon_g_per_kwh,
            "price_eur_per_mwh": now.price_eur_per_mwh,
        }

    def receipts(self, changes: Changes, units_of: Any, now_ms: int) -> dict[str, bytes]:
        """The receipts of the jobs that ended and had a run. `units_of(job, run)`: units held."""
        made: dict[str, bytes] = {}
        for job in changes.ended_jobs.values():
            if job.runs:
                held = [_held(job, index, units_of) for index in range(len(job.runs))]
                body = receipt(job.submitted_ms, held, self._network, self.hours, now_ms)
                made[job.job_id] = orjson.dumps(body)
        return made


def _held(job: Job, index: int, units_of: Any) -> HeldRun:
    run = job.runs[index]
    return HeldRun(
        attempt=run.attempt,
        site=run.site,
        pool=run.pool,
        started_at_ms=run.started_ms,
        ended_at_ms=run.ended_ms,
        units=units_of(job, run),
        reason=run.reason,
        metered_cpu_s=run.metered_cpu_s or None,
        why_here=run.why_here,
    )
