"""The log and its projections.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _log()
    _specs()
    _jobs()
    _runs()
    _idempotency()
    _usage()
    _room()


def downgrade() -> None:
    for table in ("room", "usage", "idempotency", "runs", "jobs", "specs", "log"):
        op.drop_table(table)


def _log() -> None:
    op.create_table(
        "log",
        sa.Column(
            "offset",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=14), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("offset"),
    )
    op.create_index(
        "log_of_job",
        "log",
        ["job_id", "offset"],
        unique=False,
        sqlite_where=sa.text("job_id IS NOT NULL"),
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )


def _specs() -> None:
    op.create_table(
        "specs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(length=14), nullable=False),
        sa.Column("name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("org", sa.String(length=64), server_default="", nullable=False),
        sa.Column("project", sa.String(length=64), server_default="", nullable=False),
        sa.Column("user", sa.String(length=200), server_default="", nullable=False),
        sa.Column("kind", sa.String(length=16), server_default="", nullable=False),
        sa.Column("class", sa.String(length=16), server_default="", nullable=False),
        sa.Column("priority", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("workers", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spec_digest", sa.String(length=64), nullable=False),
        sa.Column("submitted_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("array_id", sa.String(length=14), server_default="", nullable=False),
        sa.Column("array_index", sa.BigInteger(), server_default="-1", nullable=False),
        sa.Column("endpoint", sa.String(length=64), server_default="", nullable=False),
        sa.Column("submit_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.String(length=16), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=32), server_default="", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("started_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("site", sa.String(length=64), server_default="", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("drop_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("checkpoint", sa.String(length=80), server_default="", nullable=False),
        sa.Column("output", sa.String(length=80), server_default="", nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["spec_digest"],
            ["specs.digest"],
        ),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index("jobs_by_array", "jobs", ["array_id"], unique=False)
    op.create_index("jobs_by_name", "jobs", ["name", "job_id"], unique=False)
    op.create_index("jobs_by_project", "jobs", ["project", "job_id"], unique=False)
    op.create_index("jobs_by_state", "jobs", ["state", "job_id"], unique=False)


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(length=24), nullable=False),
        sa.Column("job_id", sa.String(length=14), nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("site", sa.String(length=64), server_default="", nullable=False),
        sa.Column("pool", sa.String(length=64), server_default="", nullable=False),
        sa.Column("placement", sa.LargeBinary(), nullable=False),
        sa.Column("why_here", sa.Text(), server_default="", nullable=False),
        sa.Column("restored_from", sa.String(length=80), server_default="", nullable=False),
        sa.Column("assigned_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("start_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.String(length=16), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=32), server_default="", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("started_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("exit_codes", sa.LargeBinary(), nullable=False),
        sa.Column("checkpoint", sa.String(length=80), server_default="", nullable=False),
        sa.Column("checkpoint_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("output", sa.String(length=80), server_default="", nullable=False),
        sa.Column("metered_cpu_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("stop_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("runs_by_site", "runs", ["site", "state"], unique=False)
    op.create_index("runs_of_job", "runs", ["job_id", "attempt"], unique=False)


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("job_id", sa.String(length=14), nullable=False),
        sa.Column("spec_digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("project", "key"),
    )


def _usage() -> None:
    op.create_table(
        "usage",
        sa.Column("request_id", sa.String(length=200), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("endpoint", sa.String(length=64), server_default="", nullable=False),
        sa.Column("org", sa.String(length=64), server_default="", nullable=False),
        sa.Column("project", sa.String(length=64), server_default="", nullable=False),
        sa.Column("user", sa.String(length=200), server_default="", nullable=False),
        sa.Column("site", sa.String(length=64), server_default="", nullable=False),
        sa.Column("run_id", sa.String(length=24), server_default="", nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("usage_of_endpoint", "usage", ["endpoint", "at_ms"], unique=False)


def _room() -> None:
    op.create_table("room", sa.Column("body", sa.LargeBinary(), nullable=False))
