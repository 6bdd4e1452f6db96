"""Endpoints kept as they should be: replicas submitted, replaced after a pause, and let go of.

A replica is an ordinary job without an end. Where there are too few, more are submitted; the ones too
many are cancelled. All of it goes through the log as any person's wish would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from maillage.control import intake, log
from maillage.control.intake import JobIds, digest_of, live_needs
from maillage.control.records import EndpointRecord, Job
from maillage.control.round import Round
from maillage.control.views import instant
from maillage.errors import Conflict, Invalid, NotFound, UserError
from maillage.scheduling.replicas import ReplicaDemand, ReplicaPolicy, next_count
from maillage.workloads.endpoint import EndpointSpec

LONGEST_PAUSE_MS = 60_000
_FAILING = 3  # in a row

_logger = structlog.get_logger("maillage.endpoints")
DemandOf = Callable[[str], ReplicaDemand]


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of an endpoint's model. `address` is `http://127.0.0.1:PORT`, empty until it listens."""

    run_id: str
    site: str
    address: str
    ready: bool


class Endpoints:
    """Inputs about endpoints, and the chore that keeps them. `demand_of(name)`: what is asked of one now."""

    def __init__(self, ids: JobIds, demand_of: DemandOf) -> None:
        self._ids = ids
        self.demand_of = demand_of

    def look(self, round_: Round) -> None:
        """The loop's chore."""
        for endpoint in list(round_.state.endpoints.values()):
            self._size(round_, endpoint)
            self._keep(round_, endpoint)

    def deploy(self, round_: Round, spec: EndpointSpec, org: str, project: str, user: str) -> None:
        """A new endpoint, or a new spec for the project's own one of that name."""
        before = round_.state.endpoints.get(spec.name)
        if before is not None and before.project != project:
            raise Conflict(f"the name {spec.name!r} is taken in this network; choose another")
        live_needs(round_, spec.needs, project)
        body = spec.body()
        digest = digest_of(body)
        if before is not None and before.spec_digest == digest and not before.stuck:
            return
        entry: dict[str, Any] = {"name": spec.name, "org": org, "project": project, "user": user}
        entry |= {"spec": body, "spec_digest": digest, "min": spec.replicas.min, "max": spec.replicas.max}
        round_.note(log.ENDPOINT_DEPLOYED, entry)
        self._keep(round_, round_.state.endpoints[spec.name])

    def scale(self, round_: Round, name: str, minimum: int, maximum: int, user: str) -> None:
        endpoint = found(round_.state.endpoints, name)
        if not 0 <= minimum <= maximum or maximum < 1:
            raise Invalid(f"replicas: min {minimum}, max {maximum}; 0 <= min <= max and max >= 1 needed")
        body = {"name": name, "min": minimum, "max": maximum, "user": user}
        round_.note(log.ENDPOINT_SCALED, body)
        self._keep(round_, endpoint)

    def delete(self, round_: Round, name: str, user: str) -> None:
        endpoint = found(round_.state.endpoints, name)
        for job in _going(endpoint):
            intake.cancel(round_, job.job_id, user, f"endpoint {name} was deleted by {user}")
        round_.note(log.ENDPOINT_DELETED, {"name": name, "user": user})

    def _size(self, round_: Round, endpoint: EndpointRecord) -> None:
        """How many there should be, by what is asked of it."""
        policy = ReplicaPolicy(endpoint.replicas_min, endpoint.replicas_max)
        count = next_count(policy, endpoint.count, self.demand_of(endpoint.name), round_.now_s)
        if count.wanted != endpoint.count.wanted:
            round_.note(log.ENDPOINT_SIZED, {"name": endpoint.name, "wanted": count.wanted})
        else:
            endpoint.count = count  # since when it has been short or idle: not worth an entry

    def _keep(self, round_: Round, endpoint: EndpointRecord) -> None:
        for job in _going(endpoint):
            if job.job_id in endpoint.retiring:
                intake.cancel(round_, job.job_id, endpoint.user, f"endpoint {endpoint.name} has a new spec")
        going = _going(endpoint)
        wanted = endpoint.count.wanted
        surplus = sorted(going, key=lambda job: (_is_ready(job), _negated(job.job_id)))
        for job in surplus[: max(0, len(going) - wanted)]:
            intake.cancel(
                round_, job.job_id, endpoint.user, f"endpoint {endpoint.name} needs {wanted} replicas"
            )
        pause_ms = _pause_ms(endpoint.failures)
        if endpoint.stuck or round_.at_ms - endpoint.failed_ms < pause_ms:
            return
        for _ in range(wanted - len(going)):
            self._submit(round_, endpoint)

    def _submit(self, round_: Round, endpoint: EndpointRecord) -> None:
        try:
            spec = EndpointSpec.model_validate(endpoint.spec)
            intake.submit_replica(round_, self._ids, endpoint, spec)
        except UserError as error:
            _logger.warning("no replica", endpoint=endpoint.name, why=str(error))


def found(endpoints: dict[str, EndpointRecord], name: str) -> EndpointRecord:
    if name not in endpoints:
        raise NotFound(f"no endpoint {name!r}; `maillage endpoint list` shows those there are")
    return endpoints[name]


def _going(endpoint: EndpointRecord) -> list[Job]:
    return [job for job in endpoint.replicas.values() if not job.state.ended and not job.cancel_asked]


def _is_ready(job: Job) -> bool:
    return job.run is not None and job.run.ready


def _negated(text: str) -> tuple[int, ...]:
    """A key that sorts ids newest first."""
    return tuple(-ord(character) for character in text)


def _pause_ms(failures: int) -> int:
    """Doubling from one second after the first failure in a row."""
    return min(LONGEST_PAUSE_MS, 1000 * 2 ** (failures - 1)) if failures else 0


def replicas_of(endpoint: EndpointRecord) -> tuple[Replica, ...]:
    runs = [job.run for job in endpoint.replicas.values() if job.run is not None and not job.cancel_asked]
    return tuple(Replica(run.run_id, run.site, run.address, run.ready and run.stop is None) for run in runs)


def endpoint_json(endpoint: EndpointRecord) -> dict[str, Any]:
    replicas = [
        {
            "job_id": job.job_id,
            "run_id": job.run.run_id if job.run else None,
            "state": job.run.state.value if job.run else job.state.value,
            "site": job.site,
            "ready": _is_ready(job),
            "address": job.run.address if job.run else "",
        }
        for job in _going(endpoint)
    ]
    ready = sum(bool(replica["ready"]) for replica in replicas)
    return {
        "name": endpoint.name,
        "project": endpoint.project,
        "org": endpoint.org,
        "user": endpoint.user,
        "state": _state(endpoint, ready),
        "message": endpoint.message if ready < endpoint.count.wanted else "",
        "model": endpoint.spec["model"],
        "engine": endpoint.spec["engine"],
        "replicas": replicas,
        "wanted": endpoint.count.wanted,
        "ready": ready,
        "min": endpoint.replicas_min,
        "max": endpoint.replicas_max,
        "created_at": instant(endpoint.created_ms),
        "spec": endpoint.spec,
    }


def _state(endpoint: EndpointRecord, ready: int) -> str:
    """failed | asleep | ready | failing | starting"""
    if endpoint.stuck:
        return "failed"
    if endpoint.count.wanted == 0:
        return "asleep"
    if ready:
        return "ready"
    return "failing" if endpoint.failures >= _FAILING else "starting"
