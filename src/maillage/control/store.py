"""The store: one SQL database under the log and its projections, SQLite or PostgreSQL.

The loop thread is the only writer of these tables (`commit`); everybody may read (`reader`).
Durable means: on disk (SQLite with `synchronous=FULL`), so a commit that returned survives a crash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from maillage.control import tables
from maillage.control.log import Entry
from maillage.errors import Conflict, Invalid, Unreachable

_BUSY_S = 15.0  # people and tokens are written by other threads: wait for their lock
_PAGE = 5_000  # entries read at once while the log is folded
_ROOM_BYTES = 64 * 1024


class CannotWrite(Unreachable):
    """The store did not take a transaction: nothing of it is kept."""


def _sqlite_engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_S})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A write transaction takes the lock first: one that read before could not wait for it.
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _reading_engine(path: Path) -> sa.Engine:
    """Over a file that is not changed: without a WAL beside it nobody has it open, and none is made."""
    beside = path.with_name(f"{path.name}-wal")
    uri = f"{path.absolute().as_uri()}?{'mode=ro' if beside.exists() else 'immutable=1'}"
    return sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=_BUSY_S),
        poolclass=sa.NullPool,
    )


def migrations(connection: sa.Connection) -> Config:
    """What Alembic needs to migrate over a connection."""
    config = Config()
    config.set_main_option("script_location", "maillage.control:migrations")
    config.attributes["connection"] = connection
    return config


def _refuse_newer(config: Config, connection: sa.Connection) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = set(MigrationContext.configure(connection).get_current_heads())
    if not found <= known:
        schema = ", ".join(sorted(found - known))
        raise Conflict(
            f"{connection.engine.url.database} was written by a newer maillage (schema {schema}): install "
            "that version, or give another data folder with --data"
        )


def _refuse_older(config: Config, connection: sa.Connection) -> None:
    newest = ScriptDirectory.from_config(config).get_heads()
    found = MigrationContext.configure(connection).get_current_heads()
    where = connection.engine.url.database
    if not found:
        raise Invalid(f"{where} is a database, but none of maillage: give a data folder's maillage.db")
    if set(found) != set(newest):
        raise Conflict(
            f"{where} was written by an older maillage (schema {', '.join(found)}, here {', '.join(newest)}) "
            "and is only read here: export its log with that version (`maillage log export FILE`), or bring "
            "a copy up to date with `maillage up --data COPY`"
        )


@contextmanager
def _damage_told(engine: sa.Engine) -> Iterator[None]:
    """A damaged file becomes a Conflict."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        if "not a database" not in str(error.orig) and "malformed" not in str(error.orig):
            raise
        raise Conflict(
            f"{engine.url.database} is damaged ({error.orig}): put a backup in its place, or give "
            "another data folder with --data"
        ) from error


class Store:
    """`engine` begins write transactions, `reader` (the same database) ones that only read."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.reader = engine.execution_options(reads=True)
        self._writer: sa.Connection | None = None

    @classmethod
    def open(cls, target: Path | str) -> Store:
        """Open (and create) a SQLite file, or a database by its URL, and bring its schema up to date."""
        if isinstance(target, str) and "://" in target:
            store = cls(sa.create_engine(target, pool_pre_ping=True))
        else:
            path = Path(target)
            path.touch(mode=0o600, exist_ok=True)
            store = cls(_sqlite_engine(path))
        store.migrate()
        return store

    @classmethod
    def open_to_read(cls, path: Path) -> Store:
        """A SQLite file as it is: nothing in it or beside it is changed.

        Raises Conflict for an older or newer schema, Invalid for a database that is not ours.
        """
        store = cls(_reading_engine(path))
        with _damage_told(store.engine), store.engine.connect() as connection:
            config = migrations(connection)
            _refuse_newer(config, connection)
            _refuse_older(config, connection)
        return store

    def migrate(self) -> None:
        """Bring the schema up to date. Raises Conflict for one that is not ours to change."""
        with _damage_told(self.engine), self.engine.connect() as connection, connection.begin():
            config = migrations(connection)
            _refuse_newer(config, connection)
            command.upgrade(config, "head")

    def close(self) -> None:
        self.release_writer()
        self.engine.dispose()

    # --- writing: the loop thread only -----------------------------------------------------------

    def commit(
        self, entries: Sequence[Entry], writes: Iterable[tuple[sa.Executable, list[dict[str, Any]]]]
    ) -> None:
        """All or nothing, durably: log entries, then each statement with its rows.

        Raises CannotWrite (nothing was kept, or, with a server lost at the very end, it is not known:
        fold the log to see).
        """
        try:
            connection = self._writer_connection()
            with connection.begin():
                if entries:
                    connection.execute(_INSERT_LOG, [_log_row(entry) for entry in entries])
                for statement, rows in writes:
                    connection.execute(statement, rows)
        except sa.exc.DBAPIError as error:
            self.release_writer()
            if isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError):
                raise  # a fault of ours, not the world's
            raise CannotWrite(
                f"the network cannot write its log ({error.orig}); nothing of this request was kept. "
                "Make room on the disk of the data folder (or mend the database) and send it again"
            ) from error

    def check_room(self) -> None:
        """Write and take back a little. Raises CannotWrite while there is no room."""
        room = b"\0" * _ROOM_BYTES
        self.commit([], [(tables.room.insert(), [{"body": room}]), (tables.room.delete(), [{}])])

    def _writer_connection(self) -> sa.Connection:
        if self._writer is None:
            self._writer = self.engine.connect()
        return self._writer

    def release_writer(self) -> None:
        if self._writer is not None:
            self._writer.invalidate()
            self._writer.close()
            self._writer = None

    # --- the log ---------------------------------------------------------------------------------

    def last_offset(self) -> int:
        with self.reader.connect() as connection:
            return connection.execute(sa.select(sa.func.max(tables.log.c.offset))).scalar() or 0

    def entries(self, after: int = 0, limit: int | None = None) -> Iterator[Entry]:
        """Entries with offset > `after`, in order; read page by page."""
        left = limit
        while left is None or left > 0:
            page = self._page(after, _PAGE if left is None else min(_PAGE, left))
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].offset
            left = None if left is None else left - len(page)

    def _page(self, after: int, size: int) -> list[Entry]:
        query = (
            sa.select(tables.log).where(tables.log.c.offset > after).order_by(tables.log.c.offset).limit(size)
        )
        with self.reader.connect() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def last_of_kind(self, kind: str) -> int:
        """Offset of the newest entry of a kind; 0 for none."""
        query = sa.select(sa.func.max(tables.log.c.offset)).where(tables.log.c.kind == kind)
        with self.reader.connect() as connection:
            return connection.execute(query).scalar() or 0

    def entries_at(self, offsets: Sequence[int]) -> list[Entry]:
        query = sa.select(tables.log).where(tables.log.c.offset.in_(offsets)).order_by(tables.log.c.offset)
        with self.reader.connect() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def entries_of_job(self, job_id: str, limit: int) -> list[Entry]:
        query = sa.select(tables.log).where(tables.log.c.job_id == job_id).order_by(tables.log.c.offset)
        with self.reader.connect() as connection:
            return [_entry(row) for row in connection.execute(query.limit(limit))]

    # --- what the loop asks while it folds --------------------------------------------------------

    def claims(self, project: str, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """key -> (job id, spec digest) of the idempotency keys that are taken in a project."""
        taken: dict[str, tuple[str, str]] = {}
        with self.reader.connect() as connection:
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                found = connection.execute(_CLAIMS, {"project": project, "keys": part})
                taken |= {key: (job_id, digest) for key, job_id, digest in found}
        return taken

    def job_states(self, wanted: str) -> dict[str, tuple[str, str]]:
        """job id -> (project, state): of the job, and of the array that it is the first of."""
        table = tables.jobs
        query = sa.select(table.c.job_id, table.c.project, table.c.state)
        query = query.where((table.c.job_id == wanted) | (table.c.array_id == wanted)).order_by(
            table.c.job_id
        )
        with self.reader.connect() as connection:
            return {job_id: (project, state) for job_id, project, state in connection.execute(query)}

    def array_ids(self, first: str) -> list[str]:
        """All jobs of an array, in order; empty where `first` is none."""
        table = tables.jobs
        query = sa.select(table.c.job_id).where(table.c.array_id == first).order_by(table.c.job_id)
        with self.reader.connect() as connection:
            return list(connection.execute(query).scalars())

    def spec(self, digest: str) -> bytes:
        query = sa.select(tables.specs.c.body).where(tables.specs.c.digest == digest)
        with self.reader.connect() as connection:
            return bytes(connection.execute(query).scalar_one())

    def outputs(self, wanted: str) -> list[tuple[str, str, str]]:
        """(job id, folder, digest) of what a job left: its folder is "", its digest "" for nothing.

        For the first of an array every element's, in order, with its index for a folder.
        """
        table = tables.jobs
        query = sa.select(table.c.job_id, table.c.array_id, table.c.array_index, table.c.output)
        query = query.where((table.c.job_id == wanted) | (table.c.array_id == wanted))
        with self.reader.connect() as connection:
            found = connection.execute(query.order_by(table.c.job_id))
            return [
                (row.job_id, str(row.array_index) if row.array_id == wanted else "", row.output or "")
                for row in found
            ]


# Built once: building it costs as much as asking, and every submission with a key asks.
_CLAIMS = sa.select(
    tables.idempotency.c.key, tables.idempotency.c.job_id, tables.idempotency.c.spec_digest
).where(
    tables.idempotency.c.project == sa.bindparam("project"),
    tables.idempotency.c.key.in_(sa.bindparam("keys", expanding=True)),
)
_INSERT_LOG = tables.log.insert()


def _log_row(entry: Entry) -> dict[str, Any]:
    return {
        "offset": entry.offset,
        "at_ms": entry.at_ms,
        "kind": entry.kind,
        "job_id": entry.job_id or None,
        "body": entry.body,
    }


def _entry(row: Any) -> Entry:
    return Entry(row.offset, row.at_ms, row.kind, bytes(row.body), row.job_id or "")
