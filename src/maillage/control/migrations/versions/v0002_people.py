"""Organisations, projects, users, operators, tokens and secrets.

Revision ID: 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAME = sa.String(length=64)


def upgrade() -> None:
    _places()
    _roles()
    _tokens()
    _secrets()


def downgrade() -> None:
    for table in (
        "project_secrets", "tokens", "operator_sites", "operator_people", "project_members", "org_owners",
        "operators", "users", "projects", "orgs",
    ):  # fmt: skip
        op.drop_table(table)


def _column(name: str, kind: sa.types.TypeEngine[Any], key: str = "") -> sa.Column[Any]:
    keys = [sa.ForeignKey(key)] if key else []
    return sa.Column(name, kind, *keys, nullable=False)


def _places() -> None:
    op.create_table(
        "orgs", _column("org", _NAME), _column("made_at_ms", sa.BigInteger()), sa.PrimaryKeyConstraint("org")
    )
    op.create_table(
        "projects",
        _column("project", _NAME),
        _column("org", _NAME, "orgs.org"),
        _column("made_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("project"),
    )
    op.create_index("projects_of_org", "projects", ["org"])
    op.create_table(
        "users",
        _column("user", _NAME),
        _column("full_name", sa.String(length=200)),
        _column("admin", sa.Boolean()),
        _column("made_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("user"),
    )
    op.create_table(
        "operators",
        _column("operator", _NAME),
        _column("made_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("operator"),
    )


def _roles() -> None:
    op.create_table(
        "org_owners",
        _column("org", _NAME, "orgs.org"),
        _column("user", _NAME, "users.user"),
        sa.PrimaryKeyConstraint("org", "user"),
    )
    op.create_table(
        "project_members",
        _column("project", _NAME, "projects.project"),
        _column("user", _NAME, "users.user"),
        _column("role", sa.String(length=16)),
        sa.PrimaryKeyConstraint("project", "user"),
    )
    op.create_table(
        "operator_people",
        _column("operator", _NAME, "operators.operator"),
        _column("user", _NAME, "users.user"),
        sa.PrimaryKeyConstraint("operator", "user"),
    )
    op.create_table(
        "operator_sites",
        _column("site", _NAME),
        _column("operator", _NAME, "operators.operator"),
        sa.PrimaryKeyConstraint("site"),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        _column("token_id", sa.String(length=16)),
        _column("sha256", sa.String(length=64)),
        _column("name", sa.String(length=100)),
        sa.Column("user", _NAME, sa.ForeignKey("users.user"), nullable=True),
        _column("site", _NAME),
        _column("scopes", sa.String(length=100)),
        _column("only_project", _NAME),
        _column("issued_by", sa.String(length=80)),
        _column("expires_at_ms", sa.BigInteger()),
        _column("used_at_ms", sa.BigInteger()),
        _column("revoked_at_ms", sa.BigInteger()),
        _column("made_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("token_id"),
        sa.UniqueConstraint("sha256", name="tokens_sha256"),
    )
    op.create_index("tokens_of_user", "tokens", ["user"])
    op.create_index("tokens_of_site", "tokens", ["site"])


def _secrets() -> None:
    op.create_table(
        "project_secrets",
        _column("project", _NAME, "projects.project"),
        _column("name", sa.String(length=100)),
        _column("sealed", sa.LargeBinary()),
        _column("set_by", _NAME),
        _column("set_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("project", "name"),
    )
