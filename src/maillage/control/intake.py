"""Inputs from people: submit, cancel, requeue. Each checks first and writes after."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from maillage.control import log, orders, views
from maillage.control.records import EndpointRecord, Job
from maillage.control.round import Round
from maillage.errors import Conflict, Invalid, NotFound, UserError
from maillage.scheduling.messages import CancelRequested, RequeueRequested
from maillage.units import is_job_id, job_id
from maillage.workloads.endpoint import EndpointSpec
from maillage.workloads.job import JobSpec
from maillage.workloads.lifecycle import JobState

_NOISE_BITS = 20


class JobIds:
    """Ids that grow: by time, and one by one within a millisecond."""

    def __init__(self) -> None:
        self._at_ms = 0
        self._noise = 0

    def next(self, at_ms: int) -> str:
        if at_ms > self._at_ms:
            self._at_ms = at_ms
            self._noise = secrets.randbits(_NOISE_BITS - 1)
        else:
            self._noise += 1
            if self._noise >= 1 << _NOISE_BITS:
                self._at_ms, self._noise = self._at_ms + 1, 0
        return job_id(self._at_ms, self._noise)


@dataclass(frozen=True, slots=True)
class Asked:
    """A submission as the loop takes it. `body` is the spec, JSON-ready."""

    spec: JobSpec
    body: dict[str, Any]
    key: str = ""


def digest_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Submit:
    """The input that submits jobs of one project. Its result: a Job or a UserError per item."""

    def __init__(self, ids: JobIds, items: Sequence[Asked], org: str, project: str, user: str) -> None:
        self._ids = ids
        self._items = items
        self._who = {"org": org, "project": project, "user": user}
        self._project = project
        self._named: dict[str, str] = {}  # jobs of this very submission, by name

    def __call__(self, round_: Round) -> list[dict[str, Any] | UserError]:
        self._named = {}  # it may be heard again, after a round that was given up
        keys = [item.key for item in self._items if item.key]
        taken = round_.store.claims(self._project, keys) if keys else {}
        answers: list[dict[str, Any] | UserError] = []
        for item in self._items:
            try:
                answers.append(self._one(round_, item, taken))
            except UserError as error:
                answers.append(error)
        return answers

    def _one(self, round_: Round, item: Asked, taken: dict[str, tuple[str, str]]) -> dict[str, Any]:
        spec, body = self._resolve(item)
        digest = digest_of(body)
        claim = taken.get(item.key) if item.key else None
        claim = claim or round_.state.changes.claims.get((self._project, item.key))
        if claim is not None:
            return self._again(round_, spec, item.key, digest, claim)
        after = live_needs(round_, spec.needs, self._project)
        ids = [self._ids.next(round_.at_ms) for _ in range(spec.array or 1)]
        body_of_entry = self._who | {
            "job_ids": ids,
            "name": spec.name,
            "job_kind": "job",
            "endpoint": "",
            "array": spec.array is not None,
            "key": item.key,
            "terms": asdict(orders.terms(spec)),
            "spec_digest": digest,
            "spec": body,
        }
        round_.note(log.JOB_SUBMITTED, body_of_entry, ids[0])
        for one in ids:
            round_.tell(orders.submitted(spec, one, round_.now_s, self._who["org"], after), one)
        self._named[spec.name] = ids[0]
        return self._answer(round_.state.jobs[ids[0]], body, ids if spec.array else [])

    def _again(
        self, round_: Round, spec: JobSpec, key: str, digest: str, claim: tuple[str, str]
    ) -> dict[str, Any]:
        first, claimed = claim
        if claimed != digest:
            raise Conflict(
                f"the idempotency key {key!r} belongs to job {first}, which has another spec; "
                "take another key for other work, or send the spec unchanged"
            )
        self._named[spec.name] = first
        job = round_.state.jobs.get(first)
        if job is not None:
            ids = [] if spec.array is None else round_.store.array_ids(first)
            return self._answer(job, spec.body(), ids or ([first] if spec.array else []))
        return views.job_from_store(round_.store, first)

    def _answer(self, job: Job, body: dict[str, Any], array: list[str]) -> dict[str, Any]:
        return views.job_of_record(job, body) | ({"array": array} if array else {})

    def _resolve(self, item: Asked) -> tuple[JobSpec, dict[str, Any]]:
        """The spec with ids in place of names that this submission gave."""
        if not any(name in self._named for name in item.spec.needs):
            return item.spec, item.body
        named = self._named
        inputs = tuple(
            given.model_copy(update={"job": named.get(given.job, given.job)}) if given.job else given
            for given in item.spec.inputs
        )
        after = tuple(named.get(name, name) for name in item.spec.after)
        spec = item.spec.model_copy(update={"after": after, "inputs": inputs})
        return spec, spec.body()


def live_needs(round_: Round, needs: Sequence[str], project: str) -> tuple[str, ...]:
    """Ids of jobs that must still succeed first; an array stands for all its elements.

    Raises Invalid for what is no job of the project, Conflict for one that did not succeed.
    """
    waiting: dict[str, None] = {}
    for need in needs:
        for found in _needed(round_, need, project):
            if isinstance(found, str):
                waiting[found] = None
    return tuple(waiting)


def _needed(round_: Round, need: str, project: str) -> list[str | None]:
    if not is_job_id(need):
        raise Invalid(
            f"`after` and `inputs` name {need!r}: no job of that name in this file; give a job's id"
        )
    known = round_.store.job_states(need)
    for job in round_.state.changes.new_jobs.values():
        if need in (job.job_id, job.array_id):
            known[job.job_id] = (job.project, job.state.value)
    if not known or any(of != project for of, _ in known.values()):
        raise NotFound(f"`after` and `inputs` name {need}: project {project} has no such job")
    ids: list[str | None] = []
    for one, (_, state) in known.items():
        live = round_.state.jobs.get(one)
        now = live.state if live is not None else JobState(state)
        if now in (JobState.FAILED, JobState.CANCELLED):
            raise Conflict(
                f"it needs job {one}, which is {now.value}; run that job again and name its new id"
            )
        ids.append(None if now is JobState.SUCCEEDED else one)
    return ids


def submit_replica(round_: Round, ids: JobIds, endpoint: EndpointRecord, spec: EndpointSpec) -> None:
    """One more replica of an endpoint, as a job without an end. Raises as `live_needs`."""
    after = live_needs(round_, spec.needs, endpoint.project)
    new = ids.next(round_.at_ms)
    body = {
        "job_ids": [new],
        "name": endpoint.name,
        "org": endpoint.org,
        "project": endpoint.project,
        "user": endpoint.user,
        "job_kind": "replica",
        "endpoint": endpoint.name,
        "array": False,
        "key": "",
        "terms": asdict(orders.terms(spec)),
        "spec_digest": endpoint.spec_digest,
        "spec": endpoint.spec,
    }
    round_.note(log.JOB_SUBMITTED, body, new)
    round_.tell(orders.submitted(spec, new, round_.now_s, endpoint.org, after), new)


def cancel(round_: Round, wanted: str, user: str, message: str = "") -> None:
    """Ask for the end of a job, or of all live elements of the array that it is the first of. Asking
    again, also after it came, changes nothing. Raises Conflict when it has ended in another way."""
    live = [job for job in round_.state.jobs.values() if not job.state.ended]
    elements = [job.job_id for job in live if job.array_id == wanted]
    for one in elements or [wanted]:
        _cancel_one(round_, one, user, message)


def _cancel_one(round_: Round, wanted: str, user: str, message: str) -> None:
    if _state(round_, wanted) is JobState.CANCELLED:
        return
    job = _live(round_, wanted, "cancel")
    if job.cancel_asked:
        return
    said = message or f"cancelled by {user}"
    round_.note(log.JOB_CANCEL, {"job_id": wanted, "user": user, "message": said}, wanted)
    round_.tell(CancelRequested(wanted, round_.now_s), wanted)


def requeue(round_: Round, wanted: str, user: str) -> None:
    """Stop the live attempt and queue the job again. Raises Conflict when there is none."""
    job = _live(round_, wanted, "requeue")
    if job.run is None or job.cancel_asked:
        what = "is being cancelled" if job.cancel_asked else "waits already"
        raise Conflict(f"job {wanted} {what}: there is no attempt to requeue")
    if job.run.stop is not None:
        return
    round_.note(log.JOB_REQUEUE, {"job_id": wanted, "user": user}, wanted)
    round_.tell(RequeueRequested(wanted, round_.now_s), wanted)


def _live(round_: Round, wanted: str, verb: str) -> Job:
    job = round_.state.jobs.get(wanted)
    if job is not None and not job.state.ended:
        return job
    state = _state(round_, wanted)
    if state is None:
        raise NotFound(f"no job {wanted!r}; `maillage job list` shows those there are")
    raise Conflict(f"job {wanted} is {state.value} already: nothing to {verb}")


def _state(round_: Round, wanted: str) -> JobState | None:
    """None for a job that there is not."""
    if (job := round_.state.jobs.get(wanted)) is not None:
        return job.state
    known = round_.store.job_states(wanted)
    return JobState(known[wanted][1]) if wanted in known else None
