"""The shapes people see: jobs, runs and sites as JSON-ready dicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa

from maillage.control import tables
from maillage.control.projections import job_row
from maillage.control.records import Job
from maillage.control.store import Store
from maillage.errors import Conflict, Invalid, NotFound
from maillage.units import is_job_id
from maillage.workloads.lifecycle import JobState, RunState

Json = dict[str, Any]
Row = Mapping[str, Any] | sa.RowMapping
_ENDED = tuple(state.value for state in JobState if state.ended)
_LIVE = tuple(state.value for state in JobState if not state.ended)


def instant(at_ms: int) -> str | None:
    """ISO 8601 in UTC to the millisecond; None for 0, which means never.

    >>> instant(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    """
    if not at_ms:
        return None
    whole = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{at_ms % 1000:03d}Z"


def job_json(row: Row, spec: Json) -> Json:
    """A Job without spec, runs and receipt. `row`: a row of `jobs`."""
    return {
        "id": row["job_id"],
        "name": row["name"],
        "project": row["project"],
        "org": row["org"],
        "user": row["user"],
        "kind": row["kind"],
        "state": row["state"],
        "reason": row["reason"],
        "message": row["message"],
        "class": row["class"],
        "priority": row["priority"],
        "workers": row["workers"],
        "resources": spec.get("resources", {}),
        "submitted_at": instant(row["submitted_ms"]),
        "started_at": instant(row["started_ms"]),
        "ended_at": instant(row["ended_ms"]),
        "site": row["site"],
        "attempts": row["attempts"],
        "array_id": row["array_id"] or None,
        "array_index": row["array_index"] if row["array_id"] else None,
        "endpoint": row["endpoint"] or None,
        "checkpoint": row["checkpoint"],
        "outputs": {"artifact": row["output"] or None},
        "why": None,
    }


def job_of_record(job: Job, spec: Json) -> Json:
    return job_json(job_row(job), spec) | {"spec": spec}


def run_json(row: Row) -> Json:
    return {
        "run_id": row["run_id"],
        "attempt": row["attempt"],
        "site": row["site"],
        "pool": row["pool"],
        "state": row["state"],
        "reason": row["reason"],
        "message": row["message"],
        "assigned_at": instant(row["assigned_ms"]),
        "started_at": instant(row["started_ms"]),
        "ended_at": instant(row["ended_ms"]),
        "placement": orjson.loads(row["placement"]),
        "exit_codes": orjson.loads(row["exit_codes"]),
        "checkpoint": row["checkpoint"],
        "checkpoint_at": instant(row["checkpoint_ms"]),
        "restored_from": row["restored_from"],
        "output": row["output"],
        "why_here": row["why_here"],
        "metered_cpu_s": row["metered_cpu_s"],
    }


def job_from_store(store: Store, job_id: str) -> Json:
    """The whole Job: spec, runs, receipt; `array` for the first of one. Raises NotFound."""
    jobs, runs = tables.jobs, tables.runs
    query = sa.select(jobs, tables.specs.c.body.label("spec"))
    query = query.join(tables.specs, tables.specs.c.digest == jobs.c.spec_digest)
    with store.reader.connect() as connection:
        row = connection.execute(query.where(jobs.c.job_id == job_id)).mappings().first()
        if row is None:
            raise NotFound(f"no job {job_id!r}; `maillage job list` shows those there are")
        of_job = sa.select(runs).where(runs.c.job_id == job_id).order_by(runs.c.attempt)
        attempts = [run_json(run) for run in connection.execute(of_job).mappings()]
    spec = orjson.loads(row["spec"])
    receipt = orjson.loads(row["receipt"]) if row["receipt"] else None
    whole = job_json(row, spec) | {"spec": spec, "runs": attempts, "receipt": receipt}
    if row["array_id"] == job_id:
        states = {one: state for one, (_, state) in store.job_states(job_id).items()}
        whole["array"] = list(states)
        whole["array_states"] = dict(Counter(states.values()))
    return whole


def _unseen(connection: sa.Connection, job_ids: list[str]) -> dict[str, str]:
    """Job id -> site, of the jobs whose live run nobody can see."""
    runs = tables.runs
    query = sa.select(runs.c.job_id, runs.c.site).where(runs.c.job_id.in_(job_ids))
    found = connection.execute(query.where(runs.c.state == RunState.UNREACHABLE.value))
    return {row.job_id: row.site for row in found}


def job_page(
    store: Store,
    projects: set[str] | None,
    state: str | None,
    name: str | None,
    limit: int,
    cursor: str | None,
) -> Json:
    """Jobs newest first, see `Service.jobs`."""
    jobs = tables.jobs
    query = sa.select(jobs, tables.specs.c.body.label("spec"))
    query = query.join(tables.specs, tables.specs.c.digest == jobs.c.spec_digest)
    query = query.where(*_conditions(projects, state, name))
    if cursor:
        query = query.where(jobs.c.job_id < cursor)
    query = query.order_by(jobs.c.job_id.desc()).limit(limit + 1)
    specs: dict[bytes, Json] = {}
    with store.reader.connect() as connection:
        rows = connection.execute(query).mappings().all()
        unseen = _unseen(connection, [row["job_id"] for row in rows])
    items = []
    for row in rows[:limit]:
        body = bytes(row["spec"])
        if body not in specs:
            specs[body] = orjson.loads(body)
        shown = job_json(row, specs[body])
        if row["job_id"] in unseen:
            shown["why"] = f"site {unseen[row['job_id']]} cannot be seen; the job may well be running there"
        items.append(shown)
    return {"items": items, "next": items[-1]["id"] if len(rows) > limit else None}


def _conditions(
    projects: set[str] | None, state: str | None, name: str | None
) -> list[sa.ColumnElement[bool]]:
    jobs = tables.jobs
    found: list[sa.ColumnElement[bool]] = []
    if projects is not None:
        found.append(jobs.c.project.in_(sorted(projects)))
    if state == "live":
        found.append(jobs.c.state.in_(_LIVE))
    elif state:
        if state not in (*_LIVE, *_ENDED):
            raise Invalid(f"no job state {state!r}; known: live, {', '.join((*_LIVE, *_ENDED))}")
        found.append(jobs.c.state == state)
    if name:
        found.append(jobs.c.name == name)
    return found


def job_id_of(store: Store, ref: str, projects: set[str] | None) -> str:
    """The id that `ref` means: an id, a live job's name, or else the newest of that name. An array
    goes by the id of its first.

    Raises NotFound, and Conflict where several live jobs (an array counts as one) have the name.
    """
    jobs = tables.jobs
    if is_job_id(ref):
        by_ref, one = jobs.c.job_id == ref, sa.label("one", jobs.c.job_id)
    else:
        of_array = sa.func.nullif(jobs.c.array_id, "")
        by_ref, one = jobs.c.name == ref, sa.func.coalesce(of_array, jobs.c.job_id).label("one")
    query = sa.select(one).where(by_ref, *_conditions(projects, None, None))
    query = query.distinct().order_by(sa.desc("one"))
    with store.reader.connect() as connection:
        live = list(connection.execute(query.where(jobs.c.state.in_(_LIVE))).scalars())
        found = live or list(connection.execute(query.limit(1)).scalars())
    if len(live) > 1:
        raise Conflict(f"{len(live)} live jobs are named {ref!r}: {', '.join(live[:5])}; give an id")
    if found:
        return str(found[0])
    raise NotFound(f"no job {ref!r}; `maillage job list` shows those there are")


def element_that_waits(store: Store, array_id: str) -> str:
    """Of an array: the first element that is pending, or else that is live, or else the first of all."""
    states = {one: state for one, (_, state) in store.job_states(array_id).items()}
    order = (JobState.PENDING.value, *_LIVE)
    waits = (one for wanted in order for one, state in states.items() if state == wanted)
    return next(waits, array_id)


@dataclass(frozen=True, slots=True)
class JobEnd:
    """What a reader of logs asks: is there more to come?"""

    attempts: int
    workers: int
    ended_ms: int
    run_ended_ms: int


def job_end(store: Store, job_id: str, attempt: int) -> JobEnd:
    """Raises NotFound."""
    jobs, runs = tables.jobs, tables.runs
    of_job = sa.select(jobs.c.attempts, jobs.c.workers, jobs.c.ended_ms).where(jobs.c.job_id == job_id)
    of_run = sa.select(runs.c.ended_ms).where(runs.c.job_id == job_id, runs.c.attempt == attempt)
    with store.reader.connect() as connection:
        job = connection.execute(of_job).first()
        if job is None:
            raise NotFound(f"no job {job_id!r}; `maillage job list` shows those there are")
        return JobEnd(job.attempts, job.workers, job.ended_ms, connection.execute(of_run).scalar() or 0)


def site_of_run(store: Store, run_id: str) -> str:
    """Raises NotFound."""
    query = sa.select(tables.runs.c.site).where(tables.runs.c.run_id == run_id)
    with store.reader.connect() as connection:
        site = connection.execute(query).scalar()
    if site is None:
        raise NotFound(f"no run {run_id[:80]!r}")
    return str(site)


def decision_offsets(store: Store, job_id: str) -> list[int]:
    """Offsets of entries about a job under another name: decisions, and its array's submission."""
    jobs, runs = tables.jobs, tables.runs
    with store.reader.connect() as connection:
        job = connection.execute(
            sa.select(jobs.c.submit_offset, jobs.c.drop_offset).where(jobs.c.job_id == job_id)
        ).one()
        pairs = connection.execute(
            sa.select(runs.c.start_offset, runs.c.stop_offset).where(runs.c.job_id == job_id)
        ).all()
    return sorted({offset for pair in (job, *pairs) for offset in pair if offset})
