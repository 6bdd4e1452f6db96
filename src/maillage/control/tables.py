"""The store's tables, for SQLite and PostgreSQL alike. Instants are Unix milliseconds, 0 for never.

`log` is the truth; the others are projections of it, written in the same transaction.
Other layers define their tables on the same `metadata`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

_JOB_ID = String(14)
_RUN_ID = String(24)
_NAME = String(64)
_LONG_NAME = String(200)
_DIGEST = String(80)
_LONG = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own row number, so no second index


def _text(name: str, kind: String | None = None, **options: object) -> Column[str]:
    return Column(name, kind or _NAME, nullable=False, server_default="", **options)  # type: ignore[arg-type]


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


log = Table(
    "log",
    metadata,
    Column("offset", _LONG, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("job_id", _JOB_ID, nullable=True),
    Column("body", LargeBinary, nullable=False),
)
Index(
    "log_of_job",
    log.c.job_id,
    log.c.offset,
    sqlite_where=log.c.job_id.is_not(None),
    postgresql_where=log.c.job_id.is_not(None),
)

specs = Table(
    "specs",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", _JOB_ID, primary_key=True),
    _text("name", _LONG_NAME),
    _text("org"),
    _text("project"),
    _text("user", _LONG_NAME),
    _text("kind", String(16)),  # job | replica
    _text("class", String(16)),
    _number("priority"),
    _number("workers"),
    Column("spec_digest", String(64), ForeignKey("specs.digest"), nullable=False),
    _number("submitted_ms"),
    _text("array_id", _JOB_ID),
    Column("array_index", BigInteger, nullable=False, server_default="-1"),
    _text("endpoint"),
    _number("submit_offset"),
    _text("state", String(16)),
    _text("reason", String(32)),
    Column("message", Text, nullable=False, server_default=""),
    _number("started_ms"),
    _number("ended_ms"),
    _text("site"),
    _number("attempts"),
    _number("drop_offset"),  # the decision that ended it before it ever ran
    _text("checkpoint", _DIGEST),
    _text("output", _DIGEST),
    Column("receipt", LargeBinary, nullable=True),
    Index("jobs_by_project", "project", "job_id"),
    Index("jobs_by_state", "state", "job_id"),
    Index("jobs_by_name", "name", "job_id"),
    Index("jobs_by_array", "array_id"),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", _RUN_ID, primary_key=True),
    Column("job_id", _JOB_ID, ForeignKey("jobs.job_id"), nullable=False),
    _number("attempt"),
    _text("site"),
    _text("pool"),
    Column("placement", LargeBinary, nullable=False),
    Column("why_here", Text, nullable=False, server_default=""),
    _text("restored_from", _DIGEST),
    _number("assigned_ms"),
    _number("start_offset"),  # the decision that started it
    _text("state", String(16)),
    _text("reason", String(32)),
    Column("message", Text, nullable=False, server_default=""),
    _number("started_ms"),
    _number("ended_ms"),
    Column("exit_codes", LargeBinary, nullable=False),
    _text("checkpoint", _DIGEST),
    _number("checkpoint_ms"),
    _text("output", _DIGEST),
    Column("metered_cpu_s", Float, nullable=False, server_default="0"),
    _number("stop_offset"),  # the decision that stops it
    Index("runs_of_job", "job_id", "attempt"),
    Index("runs_by_site", "site", "state"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("project", _NAME, primary_key=True),
    Column("key", _LONG_NAME, primary_key=True),
    Column("job_id", _JOB_ID, ForeignKey("jobs.job_id"), nullable=False),
    Column("spec_digest", String(64), nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("request_id", _LONG_NAME, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    _text("endpoint"),
    _text("org"),
    _text("project"),
    _text("user", _LONG_NAME),
    _text("site"),
    _text("run_id", _RUN_ID),
    _number("prompt_tokens"),
    _number("completion_tokens"),
    _number("duration_ms"),
    Index("usage_of_endpoint", "endpoint", "at_ms"),
)

room = Table("room", metadata, Column("body", LargeBinary, nullable=False))  # written and taken back, to try
