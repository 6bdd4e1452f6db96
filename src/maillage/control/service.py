"""The use cases: everything that the API, the gateway and the agents may ask of the network.

Every method that changes something waits until the change is durable. Results are JSON-ready
dicts in the shapes of `docs/reference/api.md`. Who may ask is decided above (`access`): `projects`
is the set of project names that the asker may see, `None` for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog

from maillage import __version__
from maillage.control.artifacts import ArtifactStore, open_store
from maillage.control.clock import Clock
from maillage.control.endpointcases import EndpointCases, Usage
from maillage.control.endpoints import Replica
from maillage.control.jobcases import JobCases, Submission
from maillage.control.leader import Leader
from maillage.control.plane import Plane
from maillage.control.round import Round
from maillage.control.sitecases import SiteCases
from maillage.control.store import Store
from maillage.errors import Invalid, UserError
from maillage.feeds.recorded import Signals
from maillage.network.model import Network
from maillage.scheduling.policy import DEFAULT, Policy

__all__ = ["Replica", "Service", "Submission", "Usage"]

Json = dict[str, Any]
SITE_TIMEOUT_S = 10.0

_logger = structlog.get_logger("maillage.service")


class Service(JobCases, SiteCases, EndpointCases):
    """One network's control plane. Its methods belong to one asyncio event loop.

    `store`: an open `Store`, with its schema up to date. `data_dir`: the data folder (logs, artifacts, lock).
    `signals`: recorded signals by site id; a site without any has no energy figures. The roof sets
    `secrets_of(project, names)` (values of a project's secrets, asked for when an order is sent) and
    `demand_of(endpoint)` after construction.
    """

    def __init__(
        self,
        network: Network,
        store: Store,
        data_dir: Path,
        signals: Mapping[str, Signals],
        policy: Policy | None,
        clock: Clock,
        *,
        site_timeout_s: float = SITE_TIMEOUT_S,
        artifacts: ArtifactStore | None = None,
    ) -> None:
        self.policy = policy or DEFAULT
        plane = Plane(network, store, signals, self.policy, clock, site_timeout_s)
        SiteCases.__init__(self, plane, data_dir / "logs")
        self._unmetered: list[Usage] = []
        self.artifacts = artifacts or open_store(str(data_dir / "artifacts"))
        self._leader = Leader(data_dir)
        self._started_s = clock.mono_s()

    # --- life ------------------------------------------------------------------------------------

    def start(self, on_failure: Callable[[BaseException], None] = lambda error: None) -> None:
        """Take the lead of the data folder, fold the log, start the loop thread.

        `on_failure` is called (on the loop's thread) if a fault of ours ends it: the process must exit then.
        Raises Conflict naming the pid and the folder when another `up` holds it.
        """
        self._leader.take()
        self._on_failure = on_failure
        began_s = self._plane.clock.mono_s()
        entries = self._plane.boot()
        took_s = self._plane.clock.mono_s() - began_s
        _logger.info("log folded", entries=entries, took_s=round(took_s, 3))
        for act in self._plane.outbox:
            act()
        self._plane.outbox = []
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits, end the loop thread, give the lead back. Jobs run on at their sites."""
        self._thread.stop()
        self._flush()
        self._leader.release()

    def on_decided(self, told: Callable[[float], None]) -> None:
        """`told(duration_s)` is called on the loop's thread after each decision, for the metrics."""
        self._plane.loop.told_decided = told

    @property
    def failure(self) -> BaseException | None:
        """What ended the loop thread, if it died of a fault of ours; the server must then exit."""
        return self._thread.failure

    @property
    def refusing(self) -> UserError | None:
        """Why nothing can be written now (a full disk, a database that is away); None while all is well."""
        return self._plane.loop.refusing

    # --- the whole -------------------------------------------------------------------------------

    def subscribe(self) -> AsyncIterator[int]:
        """Yields the log's offset after every round that changed something, the newest only."""
        return self.changes()

    async def log_entries(self, after: int, limit: int) -> list[Json]:
        """Raw log entries with offset > `after`: [{offset, at_ms, kind, job_id, body}]. `limit` 1-10000."""
        if not 1 <= limit <= 10_000 or after < 0:
            raise Invalid(f"after {after}, limit {limit}: after is 0 or more, limit 1 to 10000")
        entries = await asyncio.to_thread(lambda: list(self._plane.store.entries(after, limit)))
        return [
            {
                "offset": entry.offset,
                "at_ms": entry.at_ms,
                "kind": entry.kind,
                "job_id": entry.job_id,
                "body": orjson.loads(entry.body),
            }
            for entry in entries
        ]

    async def status(self) -> Json:
        """{version, network, uptime_s, jobs: {state: n}, sites, policy, log_offset, refusing}"""

        def read(round_: Round) -> Json:
            return {
                "jobs": dict(round_.state.counts),
                "sites": {site.site_id: site.state for site in round_.state.sites.values()},
                "endpoints": len(round_.state.endpoints),
                "log_offset": round_.offset,
                "rounds": self._plane.loop.rounds,
            }

        refusing = self.refusing
        about = {
            "version": __version__,
            "network": self._plane.network.name,
            "uptime_s": round(self._plane.clock.mono_s() - self._started_s, 3),
            "policy": self.policy.name,
            "refusing": str(refusing) if refusing else None,
        }
        return about | ({} if refusing else await self.do(read))
