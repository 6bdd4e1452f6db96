"""What Prometheus reads at `/metrics`. Gauges are set when it asks; counters as things happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_DECIDE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_HTTP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """One process's figures in a registry of their own, so that tests do not share them."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._jobs = Gauge("maillage_jobs", "Jobs by state", ("state",), registry=registry)
        self._site_open = Gauge(
            "maillage_site_open", "1 when the site takes new work", ("site",), registry=registry
        )
        self._runs = Gauge("maillage_site_runs", "Runs at the site", ("site",), registry=registry)
        pool = ("site", "pool", "accelerator")
        self._total = Gauge("maillage_accelerators", "Accelerators of a pool", pool, registry=registry)
        self._free = Gauge(
            "maillage_accelerators_free", "Accelerators that nobody holds", pool, registry=registry
        )
        self._kw = Gauge(
            "maillage_site_facility_kilowatts", "At the site's meter", ("site",), registry=registry
        )
        self._limit_kw = Gauge(
            "maillage_site_limit_kilowatts", "The most it may draw", ("site",), registry=registry
        )
        self._carbon = Gauge(
            "maillage_site_carbon_grams_per_kwh", "Grid carbon now", ("site",), registry=registry
        )
        self._offset = Gauge("maillage_log_offset", "Offset of the newest log entry", registry=registry)
        self._uptime = Gauge("maillage_uptime_seconds", "Since the loop started", registry=registry)
        self._requests = Counter(
            "maillage_http_requests", "Answered requests", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "maillage_http_request_seconds",
            "Until the answer's end",
            ("route",),
            buckets=_HTTP_S,
            registry=registry,
        )
        self._decide = Histogram(
            "maillage_decide_seconds", "One round of the decision core", buckets=_DECIDE_S, registry=registry
        )

    def http(self, method: str, route: str, status: int, duration_s: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(duration_s)

    def decided(self, duration_s: float) -> None:
        self._decide.observe(duration_s)

    def text(self, status: Mapping[str, Any], sites: Sequence[Mapping[str, Any]]) -> bytes:
        """The exposition format, with the gauges as they are now."""
        for state, count in status.get("jobs", {}).items():
            self._jobs.labels(state).set(count)
        self._offset.set(status.get("log_offset") or 0)
        self._uptime.set(status.get("uptime_s") or 0)
        for site in sites:
            self._site(site)
        return generate_latest(self.registry)

    def _site(self, site: Mapping[str, Any]) -> None:
        name = site["id"]
        self._site_open.labels(name).set(site["state"] == "open")
        runs = site.get("runs") or 0
        self._runs.labels(name).set(runs if isinstance(runs, int) else len(runs))
        for gauge, key in (
            (self._kw, "facility_kw"),
            (self._limit_kw, "limit_kw"),
            (self._carbon, "carbon_g_per_kwh"),
        ):
            if site.get(key) is not None:
                gauge.labels(name).set(site[key])
        for pool in site.get("pools", ()):
            labels = (name, pool["id"], pool["accelerator"])
            self._total.labels(*labels).set(pool["units_total"])
            self._free.labels(*labels).set(pool["units_free"])
