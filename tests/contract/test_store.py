"""What every store must do, for SQLite and (where it is installed) PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import maillage.access.tables  # noqa: F401  (its tables stand on the same metadata)
from maillage.control import tables, views
from maillage.control.clock import SimulatedClock
from maillage.control.intake import Asked, JobIds, Submit
from maillage.control.log import Entry
from maillage.control.loop import Pending
from maillage.control.plane import Plane
from maillage.control.projections import Projections
from maillage.control.protocol import SyncRequest
from maillage.control.records import Job, Run, Terms
from maillage.control.replay import replay, replay_file
from maillage.control.reports import take_sync
from maillage.control.state import Changes
from maillage.control.store import CannotWrite, Store, migrations
from maillage.errors import Conflict, Invalid, NotFound
from maillage.scheduling.policy import DEFAULT
from maillage.units import job_id, run_id
from maillage.workloads.lifecycle import EndReason, JobState, RunState
from tests.contract import postgres
from tests.simulation.plane_rig import network, spec

KINDS = ["sqlite", *(["postgresql"] if postgres.binaries() else [])]


@pytest.fixture(scope="module", params=KINDS)
def where(request: pytest.FixtureRequest) -> Iterator[str]:
    """ "" for SQLite, the URL of a server for PostgreSQL."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(postgres.server()) if request.param == "postgresql" else ""


@pytest.fixture
def store(where: str, tmp_path: Path) -> Iterator[Store]:
    """An empty store with its schema."""
    if where:
        engine = sa.create_engine(where)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()
    opened = Store.open(where or tmp_path / "maillage.db")
    yield opened
    opened.close()


def entries(first: int, count: int, **fields: Any) -> list[Entry]:
    return [Entry(first + index, 1000 + index, "usage", b'{"n":1}', **fields) for index in range(count)]


def some_job(number: int = 1, **fields: Any) -> Job:
    given: dict[str, Any] = {
        "job_id": job_id(1_700_000_000_000, number),
        "name": "work",
        "org": "org",
        "project": "default",
        "user": "ada",
        "kind": "job",
        "endpoint": "",
        "spec_digest": "d" * 64,
        "submitted_ms": 1_700_000_000_000,
        "submit_offset": 1,
        "array_id": "",
        "array_index": -1,
        "terms": Terms(),
        "retries_left": 0,
    }
    return Job(**given | fields)


def some_run(job: Job, attempt: int = 1) -> Run:
    return Run(run_id(job.job_id, attempt), job.job_id, attempt, "paris", "cpu", ((0, 1),), "room", 5, 9)


def write(store: Store, changes: Changes, receipts: dict[str, bytes] | None = None) -> None:
    store.commit([], Projections(store.engine.dialect.name).writes(changes, receipts or {}))


def with_job(store: Store, job: Job, spec: dict[str, Any] | None = None) -> None:
    write(store, Changes(new_jobs={job.job_id: job}, specs={job.spec_digest: spec or {"name": "work"}}))


def test_the_log_is_read_as_it_was_written(store: Store) -> None:
    assert (store.last_offset(), list(store.entries())) == (0, [])
    written = entries(1, 7, job_id="j0000000000001") + entries(8, 3)
    store.commit(written, [])
    assert list(store.entries()) == written
    assert list(store.entries(after=8)) == written[8:]
    assert list(store.entries(after=2, limit=3)) == written[2:5]
    assert store.entries_of_job("j0000000000001", 5) == written[:5]
    assert store.entries_at([9, 2]) == [written[1], written[8]]
    assert (store.last_offset(), store.last_of_kind("usage"), store.last_of_kind("network")) == (10, 10, 0)


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    job = some_job()
    with_job(store, job)
    writes = Projections(store.engine.dialect.name).writes(Changes(new_jobs={job.job_id: job}), {})
    with pytest.raises(sa.exc.IntegrityError):
        store.commit(entries(1, 2), writes)  # that job is there already
    assert store.last_offset() == 0
    store.commit(entries(1, 2), [])
    assert store.last_offset() == 2, "the store goes on"


def test_what_is_committed_is_there_after_opening_again(store: Store, where: str, tmp_path: Path) -> None:
    store.commit(entries(1, 3), [])
    store.close()
    again = Store.open(where or tmp_path / "maillage.db")
    assert again.last_offset() == 3
    again.close()


def test_jobs_and_runs_are_written_and_changed(store: Store) -> None:
    job, run = some_job(), None
    with_job(store, job, {"name": "work", "resources": {"per_worker": 2}})
    run = some_run(job)
    job.state, job.site, job.runs = JobState.RUNNING, "paris", [run]
    write(store, Changes(jobs={job.job_id: job}, new_runs={run.run_id: run}))
    run.state, run.reason, run.exit_codes, run.started_ms = RunState.EXITED, EndReason.SUCCEEDED, (0, 0), 77
    job.state, job.reason, job.ended_ms = JobState.SUCCEEDED, "succeeded", 1_700_000_001_500
    write(store, Changes(jobs={job.job_id: job}, runs={run.run_id: run}), {job.job_id: b'{"wait_s":1}'})
    shown = views.job_from_store(store, job.job_id)
    assert (shown["state"], shown["site"], shown["attempts"]) == ("succeeded", "paris", 1)
    assert shown["ended_at"] == "2023-11-14T22:13:21.500Z"
    assert shown["resources"] == {"per_worker": 2}
    assert shown["receipt"] == {"wait_s": 1}
    assert shown["runs"][0]["exit_codes"] == [0, 0]
    assert shown["runs"][0]["placement"] == [[0, 1]]
    assert store.outputs(job.job_id) == [(job.job_id, "", "")]
    assert views.site_of_run(store, run.run_id) == "paris"


def test_a_key_belongs_to_one_job_of_a_project(store: Store) -> None:
    job = some_job()
    claim = {("default", "k"): (job.job_id, "d" * 64)}
    write(store, Changes(new_jobs={job.job_id: job}, specs={"d" * 64: {}}, claims=claim))
    assert store.claims("default", ["k", "other"]) == {"k": (job.job_id, "d" * 64)}
    assert store.claims("elsewhere", ["k"]) == {}
    assert len(store.claims("default", [f"k{number}" for number in range(1200)] + ["k"])) == 1
    with pytest.raises(sa.exc.IntegrityError):
        write(store, Changes(claims=claim))


def test_a_spec_and_a_metered_request_are_kept_once(store: Store) -> None:
    usage = {"request_id": "r1", "at_ms": 1, "endpoint": "chat", "org": "o", "project": "p", "user": "u"}
    usage |= {"site": "paris", "run_id": "", "prompt_tokens": 1, "completion_tokens": 2, "duration_ms": 3}
    for _ in range(2):
        write(store, Changes(specs={"d" * 64: {"name": "work"}}, usage=[usage]))
    assert store.spec("d" * 64) == b'{"name":"work"}'
    with store.reader.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.usage)).scalar() == 1


def test_jobs_are_listed_newest_first_page_by_page(store: Store) -> None:
    for number in range(1, 6):
        state = JobState.PENDING if number % 2 else JobState.SUCCEEDED
        name = "odd" if number % 2 else "even"
        project = "default" if number < 5 else "secret"
        with_job(store, some_job(number, state=state, name=name, project=project))
    ids = [job_id(1_700_000_000_000, number) for number in range(6)]

    def listed(**asked: Any) -> list[str]:
        given = {"projects": None, "state": None, "name": None, "limit": 10, "cursor": None} | asked
        return [item["id"] for item in views.job_page(store, **given)["items"]]

    assert listed() == [ids[5], ids[4], ids[3], ids[2], ids[1]]
    first = views.job_page(store, None, None, None, 2, None)
    assert (len(first["items"]), first["next"]) == (2, ids[4])
    assert listed(limit=2, cursor=first["next"]) == [ids[3], ids[2]]
    assert listed(projects={"default"}, state="live") == [ids[3], ids[1]]
    assert listed(state="succeeded", name="even") == [ids[4], ids[2]]
    assert views.job_page(store, set(), None, None, 10, None) == {"items": [], "next": None}


def test_a_list_says_of_a_running_job_that_its_site_cannot_be_seen(store: Store) -> None:
    job, run = some_job(), None
    with_job(store, job)
    run = some_run(job)
    job.state, job.site, job.runs, run.state = JobState.RUNNING, "paris", [run], RunState.UNREACHABLE
    write(store, Changes(jobs={job.job_id: job}, new_runs={run.run_id: run}))
    (shown,) = views.job_page(store, None, None, None, 10, None)["items"]
    assert shown["state"] == "running"
    assert shown["why"] == "site paris cannot be seen; the job may well be running there"
    run.state = RunState.RUNNING
    write(store, Changes(jobs={job.job_id: job}, runs={run.run_id: run}))
    (shown,) = views.job_page(store, None, None, None, 10, None)["items"]
    assert shown["why"] is None


def test_a_name_means_the_live_job_or_the_newest(store: Store) -> None:
    for number, state in ((1, JobState.SUCCEEDED), (2, JobState.RUNNING), (3, JobState.FAILED)):
        with_job(store, some_job(number, state=state))
    ids = [job_id(1_700_000_000_000, number) for number in range(5)]
    assert views.job_id_of(store, "work", None) == ids[2]
    assert views.job_id_of(store, ids[3], None) == ids[3]
    with_job(store, some_job(4, state=JobState.PENDING))
    with pytest.raises(Conflict, match=ids[4]):
        views.job_id_of(store, "work", None)
    with pytest.raises(NotFound):
        views.job_id_of(store, ids[1], {"other"})


def test_a_live_job_is_found_behind_any_number_of_ended_ones(store: Store) -> None:
    with_job(store, some_job(1, state=JobState.RUNNING))
    for number in range(2, 120):
        with_job(store, some_job(number, state=JobState.SUCCEEDED))
    assert views.job_id_of(store, "work", None) == job_id(1_700_000_000_000, 1)


def test_an_array_is_found_by_its_first(store: Store) -> None:
    first = job_id(1_700_000_000_000, 1)
    for number in (1, 2, 3):
        with_job(store, some_job(number, array_id=first, array_index=number - 1, output=f"sha256:{number}"))
    one, two, three = ids = [job_id(1_700_000_000_000, number) for number in (1, 2, 3)]
    assert store.array_ids(first) == ids
    assert store.outputs(first) == [(one, "0", "sha256:1"), (two, "1", "sha256:2"), (three, "2", "sha256:3")]
    assert store.outputs(two) == [(two, "", "sha256:2")]
    assert len(store.job_states(first)) == 3
    assert store.job_states(job_id(1_700_000_000_000, 2)).keys() == {job_id(1_700_000_000_000, 2)}


def test_readers_see_what_was_committed_while_a_writer_is_open(store: Store) -> None:
    store.commit(entries(1, 1), [])
    with store.engine.begin() as connection:
        connection.execute(tables.room.insert(), {"body": b"x"})
        assert store.last_offset() == 1
    assert store.last_offset() == 1


def test_the_migrations_make_the_schema(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_the_migrations_go_down_and_up_again(store: Store) -> None:
    def tables_there() -> set[str]:
        return set(sa.inspect(store.engine).get_table_names()) - {"alembic_version"}

    whole = tables_there()
    assert whole == set(tables.metadata.tables)
    with store.engine.connect() as connection, connection.begin():
        command.downgrade(migrations(connection), "0001")
    assert "log" in tables_there() and "tokens" not in tables_there()
    store.commit(entries(1, 3), [])
    store.release_writer()
    store.migrate()  # from an older schema with something in it
    assert tables_there() == whole and store.last_offset() == 3
    with store.engine.connect() as connection, connection.begin():
        command.downgrade(migrations(connection), "base")
    assert tables_there() == set()
    store.migrate()
    assert tables_there() == whole


def test_a_newer_schema_is_left_alone(store: Store) -> None:
    store.commit(entries(1, 1), [])
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="newer maillage"):
        store.migrate()
    assert store.last_offset() == 1


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "maillage.db").write_bytes(b"words, and words, and words" * 100)
    with pytest.raises(Conflict, match="backup"):
        Store.open(tmp_path / "maillage.db")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("live", [False, True])
def test_a_replayed_file_is_not_changed(tmp_path: Path, live: bool) -> None:
    store = Store.open(tmp_path / "maillage.db")
    store.commit(entries(1, 3), [])
    if not live:
        store.close()
    before = files(tmp_path)
    reading = Store.open_to_read(tmp_path / "maillage.db")
    assert [entry.offset for entry in reading.entries()] == [1, 2, 3]
    with pytest.raises(CannotWrite):
        reading.commit(entries(4, 1), [])
    reading.close()
    after = files(tmp_path)
    before.pop("maillage.db-shm", None), after.pop("maillage.db-shm", None)  # who reads is noted there
    assert after == before
    store.close()


@pytest.mark.parametrize(("schema", "words"), [("0001", "older maillage"), ("9999", "newer maillage")])
def test_a_replay_brings_no_schema_up_to_date(tmp_path: Path, schema: str, words: str) -> None:
    path = tmp_path / "maillage.db"
    store = Store.open(path)
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :schema"), {"schema": schema})
    store.close()
    before = files(tmp_path)
    with pytest.raises(Conflict, match=words):
        replay_file(path)
    assert files(tmp_path) == before


def test_a_replay_of_another_database_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE log (words TEXT)")
    other.close()
    with pytest.raises(Invalid, match="none of maillage"):
        replay_file(tmp_path / "other.db")


def test_a_full_disk_keeps_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "maillage.db")
    store.commit(entries(1, 1), [])
    limit_pages(store, 1)
    big = [Entry(2, 0, "usage", b"x" * 200_000)]
    with pytest.raises(CannotWrite, match="Make room"):
        store.commit(big, [])
    with pytest.raises(CannotWrite):
        store.check_room()
    assert store.last_offset() == 1
    limit_pages(store, 1_000_000)
    store.check_room()
    store.commit(big, [])
    assert store.last_offset() == 2
    store.close()


def limit_pages(store: Store, pages: int) -> None:
    """Let the file grow no further than it is (1), or as far as `pages`."""
    store.release_writer()
    store.engine.dispose()

    @sa.event.listens_for(store.engine, "connect")
    def limit(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")


def test_the_loop_runs_on_it_and_starts_again(store: Store, where: str, tmp_path: Path) -> None:
    clock = SimulatedClock()
    answers: list[Any] = []
    submit_one = [
        Pending(Submit(JobIds(), [Asked(spec(), spec().body(), "k")], "o", "default", "u"), answers.append)
    ]
    for _ in range(2):
        plane = Plane(network(), store, {}, DEFAULT, clock)
        plane.boot()
        plane.step(submit_one)
        for site in plane.desks:
            request = SyncRequest("first", 1)
            plane.step([Pending(partial(take_sync, site_id=site, request=request), answers.append)])
        clock.advance(1)
    first, again = (answer[0] for answer in answers if answer)
    assert first["id"] == again["id"]
    assert views.job_from_store(store, first["id"])["state"] == "scheduled"
    result = replay(store.entries())
    assert result.difference is None and result.commands == 1
