"""The fold of an endpoint's entries: what it should be, and how its replicas have fared."""

from __future__ import annotations

from typing import Any

from maillage.control import log
from maillage.control.records import EndpointRecord, Job
from maillage.scheduling.replicas import ReplicaCount
from maillage.workloads.lifecycle import EndReason, JobState

STEADY_MS = 60_000  # a replica that ran so long was well: its end starts a new count of failures


def fold_endpoint(
    endpoints: dict[str, EndpointRecord],
    changed: dict[str, EndpointRecord | None],
    at_ms: int,
    kind: str,
    body: dict[str, Any],
) -> None:
    name = body["name"]
    if kind == log.ENDPOINT_DELETED:
        del endpoints[name]
        changed[name] = None
        return
    if kind == log.ENDPOINT_DEPLOYED:
        _deployed(endpoints, at_ms, body)
    elif kind == log.ENDPOINT_SCALED:
        endpoint = endpoints[name]
        endpoint.replicas_min, endpoint.replicas_max = body["min"], body["max"]
        wanted = min(max(endpoint.count.wanted, endpoint.replicas_min), endpoint.replicas_max)
        endpoint.count = ReplicaCount(wanted)
    else:
        endpoints[name].count = ReplicaCount(body["wanted"])
    changed[name] = endpoints[name]


def _deployed(endpoints: dict[str, EndpointRecord], at_ms: int, body: dict[str, Any]) -> None:
    """A new endpoint, or a new spec for one: then its replicas of the old spec are to go."""
    before = endpoints.get(body["name"])
    endpoint = EndpointRecord(
        name=body["name"],
        org=body["org"],
        project=body["project"],
        user=body["user"],
        spec=body["spec"],
        spec_digest=body["spec_digest"],
        created_ms=before.created_ms if before else at_ms,
        replicas_min=body["min"],
        replicas_max=body["max"],
        count=ReplicaCount(body["min"]),
    )
    if before is not None:
        endpoint.replicas = before.replicas
        endpoint.retiring = set(before.replicas)
    endpoints[endpoint.name] = endpoint


def note_replica_end(endpoint: EndpointRecord, job: Job, reason: EndReason, at_ms: int) -> None:
    """A replica is over. Failures in a row make the next one wait; a model that cannot come, for ever."""
    if job.job_id not in endpoint.replicas or job.job_id in endpoint.retiring:
        return
    if reason is EndReason.DEPENDENCY_FAILED:
        endpoint.stuck = True
        endpoint.message = "the job whose model it serves did not succeed; deploy it again with another model"
    elif job.state is JobState.FAILED or not job.cancel_asked:
        last = job.runs[-1] if job.runs else None
        steady = last is not None and last.started_ms > 0 and at_ms - last.started_ms >= STEADY_MS
        endpoint.failures = 1 if steady else endpoint.failures + 1
        endpoint.failed_ms = at_ms
        endpoint.message = f"a replica ended ({reason.value}): {job.message or 'see its log'}"
