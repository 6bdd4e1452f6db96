"""Rows have every column, and what may change later is updated."""

from __future__ import annotations

from maillage.control import projections, tables
from maillage.control.projections import Projections, job_row, run_row
from maillage.control.state import Changes
from tests.contract.test_store import some_job, some_run


def test_rows_have_every_column_but_the_receipt() -> None:
    job = some_job()
    assert job_row(job).keys() == set(tables.jobs.columns.keys()) - {"receipt"}
    assert run_row(some_run(job)).keys() == set(tables.runs.columns.keys())


def test_what_changes_is_updated_and_nothing_else() -> None:
    job = some_job()
    run = some_run(job)
    changes = Changes(jobs={job.job_id: job}, runs={run.run_id: run})
    for (_, rows), changing in zip(
        Projections("sqlite").writes(changes, {}),
        (projections._JOB_CHANGING, projections._RUN_CHANGING),
        strict=True,
    ):
        assert set(rows[0]) == {"the_key", *(f"new_{name}" for name in changing)}


def test_parents_are_written_before_their_children() -> None:
    job = some_job()
    run = some_run(job)
    changes = Changes(
        new_jobs={job.job_id: job},
        new_runs={run.run_id: run},
        specs={job.spec_digest: {}},
        claims={("default", "k"): (job.job_id, job.spec_digest)},
    )
    written = [statement.table.name for statement, _ in Projections("sqlite").writes(changes, {})]  # type: ignore[attr-defined]
    assert written == ["specs", "jobs", "runs", "idempotency"]


def test_nothing_changed_nothing_written() -> None:
    assert Projections("postgresql").writes(Changes(), {}) == []
