"""The projections: rows of what one round changed, written in the round's own transaction."""

from __future__ import annotations

from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from maillage.control import tables
from maillage.control.records import Job, Run
from maillage.control.state import Changes

Writes = list[tuple[sa.Executable, list[dict[str, Any]]]]

_JOB_CHANGING = (
    "state",
    "reason",
    "message",
    "started_ms",
    "ended_ms",
    "site",
    "attempts",
    "drop_offset",
    "checkpoint",
    "output",
)
_RUN_CHANGING = (
    "state",
    "reason",
    "message",
    "started_ms",
    "ended_ms",
    "exit_codes",
    "checkpoint",
    "checkpoint_ms",
    "output",
    "metered_cpu_s",
    "stop_offset",
)


def job_row(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "name": job.name,
        "org": job.org,
        "project": job.project,
        "user": job.user,
        "kind": job.kind,
        "class": job.terms.job_class,
        "priority": job.terms.priority,
        "workers": job.terms.workers,
        "spec_digest": job.spec_digest,
        "submitted_ms": job.submitted_ms,
        "array_id": job.array_id,
        "array_index": job.array_index,
        "endpoint": job.endpoint,
        "submit_offset": job.submit_offset,
    } | _job_changing(job)


def _job_changing(job: Job) -> dict[str, Any]:
    return {
        "state": job.state.value,
        "reason": job.reason,
        "message": job.message,
        "started_ms": job.started_ms,
        "ended_ms": job.ended_ms,
        "site": job.site,
        "attempts": job.attempts,
        "drop_offset": job.drop_offset,
        "checkpoint": job.checkpoint,
        "output": job.output,
    }


def run_row(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "job_id": run.job_id,
        "attempt": run.attempt,
        "site": run.site,
        "pool": run.pool,
        "placement": orjson.dumps(run.placement),
        "why_here": run.why_here,
        "restored_from": run.restored_from,
        "assigned_ms": run.assigned_ms,
        "start_offset": run.start_offset,
    } | _run_changing(run)


def _run_changing(run: Run) -> dict[str, Any]:
    return {
        "state": run.state.value,
        "reason": run.reason.value if run.reason else "",
        "message": run.message,
        "started_ms": run.started_ms,
        "ended_ms": run.ended_ms,
        "exit_codes": orjson.dumps(run.exit_codes),
        "checkpoint": run.checkpoint,
        "checkpoint_ms": run.checkpoint_ms,
        "output": run.output,
        "metered_cpu_s": run.metered_cpu_s,
        "stop_offset": run.stop_offset,
    }


def _update(table: sa.Table, key: str, changing: tuple[str, ...]) -> sa.Update:
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in changing}
    return table.update().where(table.c[key] == sa.bindparam("the_key")).values(values)


def _changed(key: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"the_key": key} | {f"new_{name}": value for name, value in row.items()}


class Projections:
    """Statements are built once; `dialect` is `sqlite` or `postgresql`."""

    def __init__(self, dialect: str) -> None:
        insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        self._new_specs = insert(tables.specs).on_conflict_do_nothing()
        self._new_usage = insert(tables.usage).on_conflict_do_nothing()
        self._new_jobs = tables.jobs.insert()
        self._new_runs = tables.runs.insert()
        self._new_claims = tables.idempotency.insert()
        self._jobs = _update(tables.jobs, "job_id", _JOB_CHANGING)
        self._runs = _update(tables.runs, "run_id", _RUN_CHANGING)
        receipt: dict[str, Any] = {"receipt": sa.bindparam("new_receipt")}
        self._receipts = (
            tables.jobs.update().where(tables.jobs.c.job_id == sa.bindparam("the_key")).values(receipt)
        )

    def writes(self, changes: Changes, receipts: dict[str, bytes]) -> Writes:
        """Statements with their rows, in an order that keeps every foreign key."""
        specs = [{"digest": digest, "body": orjson.dumps(spec)} for digest, spec in changes.specs.items()]
        jobs = [_changed(job_id, _job_changing(job)) for job_id, job in changes.jobs.items()]
        runs = [_changed(run_id, _run_changing(run)) for run_id, run in changes.runs.items()]
        claims = [
            {"project": project, "key": key, "job_id": job_id, "spec_digest": digest}
            for (project, key), (job_id, digest) in changes.claims.items()
        ]
        written: Writes = [
            (self._new_specs, specs),
            (self._new_jobs, [job_row(job) for job in changes.new_jobs.values()]),
            (self._jobs, jobs),
            (self._new_runs, [run_row(run) for run in changes.new_runs.values()]),
            (self._runs, runs),
            (self._new_claims, claims),
            (self._new_usage, changes.usage),
            (self._receipts, [{"the_key": key, "new_receipt": body} for key, body in receipts.items()]),
        ]
        return [(statement, rows) for statement, rows in written if rows]
