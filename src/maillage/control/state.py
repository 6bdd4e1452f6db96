"""The control plane's state: the fold of the log, and what changed since the last commit.

`apply` is the only place that changes a record. It is a pure function of the entries, so a restart
that folds the same log stands where the process stood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from maillage.control import log
from maillage.control.endpointstate import fold_endpoint, note_replica_end
from maillage.control.records import EndpointRecord, Job, Run, SiteRecord, Terms
from maillage.engines.port import PoolCapacity
from maillage.scheduling.messages import (
    Command,
    Drop,
    Ended,
    LimitChanged,
    Start,
    Started,
    Stop,
    command_from_json,
    event_from_json,
    is_event,
)
from maillage.units import run_id
from maillage.workloads.lifecycle import (
    ENDINGS,
    JOB_TRANSITIONS,
    RUN_TRANSITIONS,
    EndReason,
    JobState,
    RunState,
    after_ending,
)

Fact = Any  # the core's event, a decision's commands, or the body of another kind


@dataclass(slots=True)
class Changes:
    """What one transaction changes, by id: the projections and the sites follow from it."""

    new_jobs: dict[str, Job] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    new_runs: dict[str, Run] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    specs: dict[str, Any] = field(default_factory=dict)
    claims: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)  # as `Store.claims`
    usage: list[dict[str, Any]] = field(default_factory=list)
    stopped: dict[str, Run] = field(default_factory=dict)
    ended_runs: dict[str, Run] = field(default_factory=dict)
    ended_jobs: dict[str, Job] = field(default_factory=dict)
    endpoints: dict[str, EndpointRecord | None] = field(default_factory=dict)
    sites: dict[str, SiteRecord] = field(default_factory=dict)


def read_fact(kind: str, body: dict[str, Any]) -> Fact:
    """An entry's body as `State.apply` and the core take it."""
    if is_event(kind):
        return event_from_json({"kind": kind} | body)
    if kind == log.DECISION:
        return tuple(command_from_json(command) for command in body["commands"])
    return body


class State:
    """Live jobs and runs by id, sites, endpoints. Ended jobs leave with `take_changes`."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.runs: dict[str, Run] = {}
        self.sites: dict[str, SiteRecord] = {}
        self.endpoints: dict[str, EndpointRecord] = {}
        self.network: dict[str, Any] = {}  # the newest `network` entry
        self.counts: dict[str, int] = dict.fromkeys(JobState, 0)
        self.changes = Changes()
        self._folds: dict[str, Callable[[int, int, Fact], None]] = {
            log.NETWORK: self._network,
            log.JOB_SUBMITTED: self._job_submitted,
            log.RUN_REPORT: self._run_report,
            log.CHECKPOINT: self._run_report,
            log.SITE_SEEN: self._site_seen,
            log.SITE_UNREACHABLE: self._site_unreachable,
            log.SITE_DRAINED: self._site_drained,
            log.SITE_RESUMED: self._site_resumed,
            log.JOB_CANCEL: self._job_cancel,
            log.USAGE: self._usage,
            log.DECISION: self._decision,
            "started": self._started,
            "ended": self._ended,
            "limit_changed": self._limit_changed,
        }

    def apply(self, offset: int, at_ms: int, kind: str, fact: Fact) -> None:
        fold = self._folds.get(kind)
        if fold is not None:
            fold(offset, at_ms, fact)
        elif kind in log.ENDPOINT_KINDS:
            fold_endpoint(self.endpoints, self.changes.endpoints, at_ms, kind, fact)

    def take_changes(self) -> Changes:
        """What changed since the last time; jobs that ended are let go of."""
        changes, self.changes = self.changes, Changes()
        for job_id, job in changes.ended_jobs.items():
            del self.jobs[job_id]
            if job.endpoint in self.endpoints:
                self.endpoints[job.endpoint].replicas.pop(job_id, None)
        for ended in changes.ended_runs:
            del self.runs[ended]
        return changes

    # --- jobs ------------------------------------------------------------------------------------

    def _job_submitted(self, offset: int, at_ms: int, body: dict[str, Any]) -> None:
        ids: list[str] = body["job_ids"]
        terms = Terms(**body["terms"])
        self.changes.specs[body["spec_digest"]] = body["spec"]
        for index, job_id in enumerate(ids):
            job = Job(
                job_id=job_id,
                name=body["name"],
                org=body["org"],
                project=body["project"],
                user=body["user"],
                kind=body["job_kind"],
                endpoint=body["endpoint"],
                spec_digest=body["spec_digest"],
                submitted_ms=at_ms,
                submit_offset=offset,
                array_id=ids[0] if body["array"] else "",
                array_index=index if body["array"] else -1,
                terms=terms,
                retries_left=terms.retries,
            )
            self.jobs[job_id] = self.changes.new_jobs[job_id] = job
            self.counts[JobState.PENDING] += 1
            if job.endpoint in self.endpoints:
                self.endpoints[job.endpoint].replicas[job_id] = job
                self.changes.endpoints[job.endpoint] = self.endpoints[job.endpoint]
        if body["key"]:
            self.changes.claims[body["project"], body["key"]] = (ids[0], body["spec_digest"])

    def _job_cancel(self, _offset: int, _at_ms: int, body: dict[str, Any]) -> None:
        job = self.jobs[body["job_id"]]
        job.cancel_asked = True
        job.message = body["message"]
        self._touch(job)

    def _move(self, job: Job, state: JobState) -> None:
        assert state in JOB_TRANSITIONS[job.state], f"{job.job_id}: {job.state} -> {state}"
        self.counts[job.state] -= 1
        self.counts[state] += 1
        job.state = state
        self._touch(job)

    def _touch(self, job: Job) -> None:
        if job.job_id not in self.changes.new_jobs:
            self.changes.jobs[job.job_id] = job

    def _end_job(self, job: Job, state: JobState, reason: EndReason, at_ms: int) -> None:
        self._move(job, state)
        job.reason = reason.value
        job.ended_ms = at_ms
        self.changes.ended_jobs[job.job_id] = job
        if job.endpoint in self.endpoints:
            endpoint = self.endpoints[job.endpoint]
            note_replica_end(endpoint, job, reason, at_ms)
            self.changes.endpoints[endpoint.name] = endpoint

    # --- decisions -------------------------------------------------------------------------------

    def _decision(self, offset: int, at_ms: int, commands: tuple[Command, ...]) -> None:
        for command in commands:
            if isinstance(command, Start):
                self._start(offset, at_ms, command)
            elif isinstance(command, Stop):
                self._stop(offset, command)
            else:
                self._drop(offset, at_ms, command)

    def _start(self, offset: int, at_ms: int, command: Start) -> None:
        job = self.jobs[command.job_id]
        assert job.run is None and command.attempt == job.attempts + 1, f"{job.job_id}: two live attempts"
        run = Run(
            run_id=run_id(job.job_id, command.attempt),
            job_id=job.job_id,
            attempt=command.attempt,
            site=command.site,
            pool=command.pool,
            placement=command.placement,
            why_here=command.reason,
            assigned_ms=at_ms,
            start_offset=offset,
            restored_from=job.checkpoint,
        )
        self._move(job, JobState.SCHEDULED)
        job.site = command.site
        job.run = run
        job.runs.append(run)
        self.runs[run.run_id] = self.changes.new_runs[run.run_id] = run
        site = self.sites[command.site]
        site.live[run.run_id] = run
        self._changed(site, offset)
        self._touch_endpoint(job)

    def _stop(self, offset: int, command: Stop) -> None:
        run = self.jobs[command.job_id].run
        assert run is not None and run.attempt == command.attempt, f"{command.job_id}: no such live attempt"
        run.stop = command.reason
        run.stop_offset = offset
        self.changes.stopped[run.run_id] = run
        self._touch_run(run)
        self._changed(self.sites[run.site], offset)

    def _drop(self, offset: int, at_ms: int, command: Drop) -> None:
        job = self.jobs[command.job_id]
        job.drop_offset = offset
        self._end_job(job, ENDINGS[command.reason].job, command.reason, at_ms)

    # --- runs ------------------------------------------------------------------------------------

    def _touch_run(self, run: Run) -> None:
        if run.run_id not in self.changes.new_runs:
            self.changes.runs[run.run_id] = run

    def _run_report(self, _offset: int, _at_ms: int, body: dict[str, Any]) -> None:
        """Take what the body says of a live run; its end itself comes as `ended`."""
        run = self.runs[body["run_id"]]
        if "state" in body:
            state = RunState(body["state"])
            assert state in RUN_TRANSITIONS[run.state], f"{run.run_id}: {run.state} -> {state}"
            run.state = state
            run.accepted = True
            run.unreachable_ms = 0
        for name in ("message", "started_ms", "ended_ms", "output", "address", "ready", "metered_cpu_s"):
            if name in body:
                setattr(run, name, body[name])
        if "exit_codes" in body:
            run.exit_codes = tuple(body["exit_codes"])
        job = self.jobs[run.job_id]
        if body.get("checkpoint"):
            run.checkpoint, run.checkpoint_ms = body["checkpoint"], body["checkpoint_ms"]
            job.checkpoint, job.checkpoint_ms = run.checkpoint, run.checkpoint_ms
            self._touch(job)
        self._touch_run(run)
        self._touch_endpoint(job)

    def _touch_endpoint(self, job: Job) -> None:
        if job.endpoint in self.endpoints:
            self.changes.endpoints[job.endpoint] = self.endpoints[job.endpoint]

    def _started(self, _offset: int, at_ms: int, event: Started) -> None:
        job = self.jobs[event.job_id]
        assert job.run is not None and job.run.attempt == event.attempt
        self._move(job, JobState.RUNNING)
        job.returned_in_a_row = 0
        job.started_ms = job.started_ms or job.run.started_ms or at_ms

    def _ended(self, offset: int, at_ms: int, event: Ended) -> None:
        job = self.jobs[event.job_id]
        run = job.run
        assert run is not None and run.attempt == event.attempt, f"{job.job_id}: no such live attempt"
        ending = ENDINGS[event.reason]
        assert ending.run in RUN_TRANSITIONS[run.state], f"{run.run_id}: {run.state} -> {ending.run}"
        run.state, run.reason = ending.run, event.reason
        run.ended_ms = run.ended_ms or at_ms
        run.ready, run.address = False, ""
        self._touch_run(run)
        self.changes.ended_runs[run.run_id] = run
        site = self.sites[run.site]
        del site.live[run.run_id]
        self._changed(site, offset)
        job.run = None
        self._after_run(job, run, event.reason, at_ms)

    def _after_run(self, job: Job, run: Run, reason: EndReason, at_ms: int) -> None:
        state = after_ending(reason, job.retries_left)
        if state is JobState.PENDING and job.cancel_asked:
            state = JobState.CANCELLED  # whatever ended it, nobody wants it back
        job.message = run.message or job.message
        if state is not JobState.PENDING:
            job.output = run.output
            self._end_job(job, state, reason, at_ms)
            job.ended_ms = run.ended_ms  # not the instant at which its report arrived
            return
        self._move(job, state)
        job.reason, job.site = reason.value, ""
        job.retries_left -= ENDINGS[reason].uses_retry
        job.returned_in_a_row += reason is EndReason.RETURNED
        self._touch_endpoint(job)

    # --- sites -----------------------------------------------------------------------------------

    def _changed(self, site: SiteRecord, offset: int) -> None:
        site.version = offset
        self.changes.sites[site.site_id] = site

    def _network(self, offset: int, _at_ms: int, body: dict[str, Any]) -> None:
        self.network = body
        for site_id in body["sites"]:
            self._changed(self.sites.setdefault(site_id, SiteRecord(site_id)), offset)

    def _site_seen(self, _offset: int, _at_ms: int, body: dict[str, Any]) -> None:
        site = self.sites[body["site"]]
        if site.incarnation != body["incarnation"]:
            site.former_incarnations = [site.incarnation, *site.former_incarnations][:8]
        site.incarnation = body["incarnation"]
        site.reachable = True
        site.engine = body["engine"]
        site.capacity = tuple(PoolCapacity(**pool) for pool in body["capacity"])
        self.changes.sites[site.site_id] = site

    def _site_unreachable(self, _offset: int, at_ms: int, body: dict[str, Any]) -> None:
        site = self.sites[body["site"]]
        site.reachable = False
        self.changes.sites[site.site_id] = site
        for run in site.live.values():
            assert RunState.UNREACHABLE in RUN_TRANSITIONS[run.state]
            run.state, run.unreachable_ms, run.ready = RunState.UNREACHABLE, at_ms, False
            self._touch_run(run)
            self._touch_endpoint(self.jobs[run.job_id])

    def _site_drained(self, _offset: int, _at_ms: int, body: dict[str, Any]) -> None:
        site = self.sites[body["site"]]
        site.drained, site.drain_reason = True, body["reason"]
        self.changes.sites[site.site_id] = site

    def _site_resumed(self, _offset: int, _at_ms: int, body: dict[str, Any]) -> None:
        site = self.sites[body["site"]]
        site.drained, site.drain_reason = False, ""
        self.changes.sites[site.site_id] = site

    def _limit_changed(self, _offset: int, _at_ms: int, event: LimitChanged) -> None:
        site = self.sites[event.site]
        site.limit_kw = event.limit_kw if event.limit_kw >= 0 else None
        self.changes.sites[site.site_id] = site

    def _usage(self, _offset: int, at_ms: int, body: dict[str, Any]) -> None:
        self.changes.usage.append({"at_ms": at_ms} | body)
