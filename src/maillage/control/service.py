"""The use cases: everything that the API, the gateway and the agents may ask of the network.

Every method that changes something waits until the change is durable. Results are JSON-ready
dicts in the shapes of `docs/reference/api.md`. Who may ask is decided above (`access`): `projects`
is the set of project names that the asker may see, `None` for all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maillage.control.protocol import LogPush, SyncRequest, SyncResponse
from maillage.errors import UserError

if TYPE_CHECKING:
    from maillage.control.artifacts import ArtifactStore
    from maillage.control.clock import Clock
    from maillage.control.shells import Shells
    from maillage.control.store import Store
    from maillage.network.model import Network
    from maillage.workloads.endpoint import EndpointSpec
    from maillage.workloads.job import JobSpec

Json = dict[str, Any]
SecretsOf = Callable[[str, tuple[str, ...]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that someone asks for. The same key in the same project is the same job."""

    spec: JobSpec
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of an endpoint's model. `address` is `http://127.0.0.1:PORT`, empty until it listens."""

    run_id: str
    site: str
    address: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request to an endpoint used, as the gateway metered it."""

    request_id: str
    endpoint: str
    org: str
    project: str
    user: str
    prompt_tokens: int
    completion_tokens: int
    site: str = ""
    run_id: str = ""
    duration_ms: int = 0


class Service:
    """One network's control plane. Methods are safe to call from one asyncio event loop.

    `store`: an open `Store`, with its schema up to date. `data_dir`: the data folder (logs, artifacts, lock).
    `signals`: what `feeds.recorded` gives per site. `policy`: the scheduler's.
    `secrets_of(project, names)` gives the values of a project's secrets when a run's order is sent;
    the roof sets it after construction. Raises Conflict from `start` when another process leads.
    """

    artifacts: ArtifactStore
    shells: Shells
    secrets_of: SecretsOf

    def __init__(
        self,
        network: Network,
        store: Store,
        data_dir: Path,
        signals: Any,
        policy: Any,
        clock: Clock,
    ) -> None:
        raise NotImplementedError

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the lead of the data folder, fold the log, start the loop thread.

        Raises Conflict naming the pid and the folder when another `up` holds it.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Commit what waits, end the loop thread, give the lead back. Jobs run on at their sites."""
        raise NotImplementedError

    @property
    def failure(self) -> BaseException | None:
        """What ended the loop thread, if it died of a fault of ours; the server must then exit."""
        raise NotImplementedError

    # --- jobs ------------------------------------------------------------------------------------

    async def submit(
        self, items: Sequence[Submission], *, org: str, project: str, user: str
    ) -> list[Json | UserError]:
        """Submit jobs; one answer per item, in order: the Job (with `array` ids for an array) or why not.

        Durable when it returns. Same key and same spec: the same job again. Same key, other spec:
        Conflict naming that job. A gang that can never fit: Invalid saying what would fit.
        `after` and `inputs` name job ids, or jobs earlier in `items` by name.
        Raises Unreachable when nothing can be written now (disk full).
        """
        raise NotImplementedError

    async def quote(self, spec: JobSpec, *, org: str, project: str) -> Json:
        """Where and when it would start, and for how much; nothing is kept.

        {site, pool, start_s, wait_s, credits, energy_kwh, carbon_g, reason}
        """
        raise NotImplementedError

    async def jobs(
        self,
        projects: set[str] | None,
        state: str | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Json:
        """{items: [Job without spec, runs and receipt], next: cursor | None}, newest first.

        `state` may be a state, or `live` for all that has not ended. `limit` 1-1000.
        """
        raise NotImplementedError

    async def job(self, ref: str, projects: set[str] | None) -> Json:
        """The Job with spec, runs, receipt, outputs. `ref`: an id, or a name that only one job has
        (among live jobs first, then the newest). Raises NotFound, or Conflict listing the ids."""
        raise NotImplementedError

    async def why(self, job_id: str) -> Json:
        """{reason, detail, mend, expected_start}; for a job that does not wait, what it does instead."""
        raise NotImplementedError

    async def job_events(self, job_id: str) -> list[Json]:
        """The job's own log: [{offset, at, kind, body}]."""
        raise NotImplementedError

    async def cancel(self, job_id: str, user: str) -> Json:
        """Ask for the end of a job; returns the Job. Ended already: Conflict."""
        raise NotImplementedError

    async def requeue(self, job_id: str, user: str) -> Json:
        """Stop the live attempt and queue the job again; not live: Conflict."""
        raise NotImplementedError

    async def open_shell(self, job_id: str, worker: int) -> str:
        """Ask the job's site for a shell in its running attempt; returns the shell's id.

        The person's and the site's websockets meet in `shells.person(id)` and `shells.site(id)`.
        Conflict when the job does not run, NotFound when it has no such worker.
        """
        raise NotImplementedError

    # --- sites -----------------------------------------------------------------------------------

    async def sync(self, site: str, request: SyncRequest) -> SyncResponse:
        """The one call of a site's agent; held up to `wait_s` until its desired state grows."""
        raise NotImplementedError

    async def push_logs(self, site: str, push: LogPush) -> None:
        """Keep output of the site's runs; the same chunk twice changes nothing."""
        raise NotImplementedError

    async def read_logs(
        self, job_id: str, attempt: int, worker: int, offset: int, limit: int
    ) -> tuple[bytes, bool]:
        """Bytes from `offset`, and whether nothing will follow them. `attempt` 0: the newest.

        A negative `offset` counts from the end.
        """
        raise NotImplementedError

    async def sites(self) -> list[Json]:
        raise NotImplementedError

    async def site(self, site_id: str) -> Json:
        """{id, place, state, pools, power_kw, facility_kw, limit_kw, ...}. Raises NotFound naming the sites."""
        raise NotImplementedError

    async def drain(self, site_id: str, *, reason: str, user: str) -> Json:
        """No new work for the site; what runs there runs on."""
        raise NotImplementedError

    async def resume(self, site_id: str, *, reason: str = "", user: str) -> Json:
        raise NotImplementedError

    async def limit(self, site_id: str, *, kw: float | None, user: str) -> Json:
        """The site may draw `kw` at its facility meter from now on; None: no limit of its own."""
        raise NotImplementedError

    # --- endpoints -------------------------------------------------------------------------------

    async def deploy(self, spec: EndpointSpec, *, org: str, project: str, user: str) -> Json:
        """Deploy an endpoint or give the one of that name its new spec; returns the Endpoint:
        {name, project, org, user, state, message, model, replicas: [{run_id, job_id, site, state,
        ready, address}], wanted, ready, min, max, created_at, spec}. A name is one endpoint in the network."""
        raise NotImplementedError

    async def endpoints(self, projects: set[str] | None) -> list[Json]:
        raise NotImplementedError

    async def endpoint(self, name: str, projects: set[str] | None) -> Json:
        raise NotImplementedError

    async def scale(self, name: str, *, minimum: int, maximum: int, user: str) -> Json:
        raise NotImplementedError

    async def delete_endpoint(self, name: str, *, user: str) -> Json:
        raise NotImplementedError

    def replicas(self, model_name: str, projects: set[str] | None) -> tuple[Replica, ...]:
        """Where a model answers; empty where there is no such endpoint or none is placed. In memory."""
        raise NotImplementedError

    def models(self, projects: set[str] | None) -> tuple[str, ...]:
        """Names of the endpoints that these projects may use. In memory."""
        raise NotImplementedError

    def record_usage(self, usage: Usage) -> None:
        """Put a metered request into the log, with the next round; never blocks."""
        raise NotImplementedError

    # --- the whole -------------------------------------------------------------------------------

    def subscribe(self) -> AsyncIterator[int]:
        """Yields the log's offset after every round that changed something, the newest only."""
        raise NotImplementedError

    async def log_entries(self, after: int, limit: int) -> list[Json]:
        """Raw log entries with offset > `after`: [{offset, at_ms, kind, body}]. `limit` 1-10000."""
        raise NotImplementedError

    async def status(self) -> Json:
        """{version, network, uptime_s, jobs: {state: n}, sites, policy, log_offset, refusing}"""
        raise NotImplementedError
