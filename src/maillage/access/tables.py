"""People, their roles, tokens and secrets, on the store's one MetaData. Instants are Unix milliseconds.

Names are the keys: an organisation, project, user or operator is known by a short name that never
changes, so that what the log says stays readable.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from maillage.control.tables import metadata

_NAME = String(64)


def _made() -> Column[int]:
    return Column("made_at_ms", BigInteger, nullable=False)


orgs = Table("orgs", metadata, Column("org", _NAME, primary_key=True), _made())

projects = Table(
    "projects",
    metadata,
    Column("project", _NAME, primary_key=True),
    Column("org", _NAME, ForeignKey("orgs.org"), nullable=False),
    _made(),
    Index("projects_of_org", "org"),
)

users = Table(
    "users",
    metadata,
    Column("user", _NAME, primary_key=True),
    Column("full_name", String(200), nullable=False, default=""),
    Column("admin", Boolean, nullable=False, default=False),
    _made(),
)

org_owners = Table(
    "org_owners",
    metadata,
    Column("org", _NAME, ForeignKey("orgs.org"), primary_key=True),
    Column("user", _NAME, ForeignKey("users.user"), primary_key=True),
)

project_members = Table(
    "project_members",
    metadata,
    Column("project", _NAME, ForeignKey("projects.project"), primary_key=True),
    Column("user", _NAME, ForeignKey("users.user"), primary_key=True),
    Column("role", String(16), nullable=False),
)

operators = Table("operators", metadata, Column("operator", _NAME, primary_key=True), _made())

operator_people = Table(
    "operator_people",
    metadata,
    Column("operator", _NAME, ForeignKey("operators.operator"), primary_key=True),
    Column("user", _NAME, ForeignKey("users.user"), primary_key=True),
)

operator_sites = Table(
    "operator_sites",
    metadata,
    Column("site", _NAME, primary_key=True),  # a site belongs to one operator
    Column("operator", _NAME, ForeignKey("operators.operator"), nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(16), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("name", String(100), nullable=False, default=""),
    Column("user", _NAME, ForeignKey("users.user"), nullable=True),  # null for a site's token
    Column("site", _NAME, nullable=False, default=""),
    Column("scopes", String(100), nullable=False, default=""),  # space-separated, empty for all
    Column("only_project", _NAME, nullable=False, default=""),
    Column("issued_by", String(80), nullable=False, default=""),
    Column("expires_at_ms", BigInteger, nullable=False, default=0),  # 0: never
    Column("used_at_ms", BigInteger, nullable=False, default=0),
    Column("revoked_at_ms", BigInteger, nullable=False, default=0),
    _made(),
    UniqueConstraint("sha256", name="tokens_sha256"),
    Index("tokens_of_user", "user"),
    Index("tokens_of_site", "site"),
)

project_secrets = Table(
    "project_secrets",
    metadata,
    Column("project", _NAME, ForeignKey("projects.project"), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("set_by", _NAME, nullable=False),
    Column("set_at_ms", BigInteger, nullable=False),
)
