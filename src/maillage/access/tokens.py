"""API tokens: 256 random bits behind `mlg_`, of which only the SHA-256 is kept.

A token is shown once, when it is issued. `authenticate` answers from memory until anybody's access
changes; when a token was last used is written once a minute at most.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from maillage.access import tables
from maillage.access.principal import ALL_SCOPES, Principal
from maillage.access.roles import Role, TokenScope
from maillage.errors import Invalid, NotFound, NotSignedIn

PREFIX = "mlg_"
_LENGTH = len(PREFIX) + 43  # 32 bytes as unpadded base64url
_KNOWN_FOR_S = 30.0  # another process may have revoked it: ask the store again after this long
_USED_EVERY_S = 60.0
_KNOWN_MAX = 10_000
_log = structlog.get_logger("maillage.access")


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What may be shown of a token: never the token."""

    token_id: str
    name: str
    user: str
    site: str
    scopes: tuple[str, ...]
    project: str
    made_at_ms: int
    expires_at_ms: int
    used_at_ms: int


@dataclass(slots=True)
class _Known:
    principal: Principal
    sha256: str
    checked_s: float
    used_written_s: float


class Tokens:
    """Issues, checks and revokes tokens. Calls but `authenticate` on a known token read the store."""

    def __init__(self, engine: sa.Engine, now_ms: Callable[[], int] = wall_ms) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)  # a read takes no write lock
        self._now_ms = now_ms
        self._known: dict[str, _Known] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def issue(
        self,
        *,
        name: str,
        user: str = "",
        site: str = "",
        scopes: Iterable[str] = (),
        only_project: str = "",
        expires_at_ms: int = 0,
        issued_by: str = "",
    ) -> tuple[str, TokenInfo]:
        """A new token for a user or for a site's agent, in clear for the only time. Raises Invalid."""
        if bool(user) == bool(site):
            raise Invalid("a token belongs to a user or to a site: name one of them")
        now_ms = self._now_ms()
        if expires_at_ms and expires_at_ms <= now_ms:
            raise Invalid("the token would have expired already: give a later instant")
        token = PREFIX + secrets.token_urlsafe(32)
        row = {
            "token_id": "t" + secrets.token_hex(6),
            "sha256": digest(token),
            "name": name,
            "user": user or None,
            "site": site,
            "scopes": " ".join(sorted({TokenScope(scope) for scope in scopes})),
            "only_project": only_project,
            "issued_by": issued_by,
            "expires_at_ms": expires_at_ms,
            "used_at_ms": 0,
            "revoked_at_ms": 0,
            "made_at_ms": now_ms,
        }
        with self._engine.begin() as db:
            db.execute(sa.insert(tables.tokens).values(row))
        return token, _info(row)

    def known(self, token: str) -> Principal | None:
        """The principal of a token that was checked a short while ago, without reading the store."""
        sha256 = digest(token)
        known = self._known.get(sha256)
        if known is None or not hmac.compare_digest(known.sha256, sha256):
            return None
        now_s = time.monotonic()
        if now_s - known.checked_s > _KNOWN_FOR_S or now_s - known.used_written_s > _USED_EVERY_S:
            return None
        expires_at_ms = known.principal.expires_at_ms
        return None if expires_at_ms and expires_at_ms <= self._now_ms() else known.principal

    def authenticate(self, token: str) -> Principal:
        """Who holds this token. Raises NotSignedIn when it is unknown, expired or revoked."""
        known = self.known(token)
        if known is not None:
            return known
        if len(token) != _LENGTH or not token.startswith(PREFIX):
            raise NotSignedIn("that is no maillage token: it would begin with 'mlg_'")
        sha256, generation = digest(token), self._generation
        now_ms = self._now_ms()
        table = tables.tokens
        with self._reader.connect() as db:
            row = db.execute(sa.select(table).where(table.c.sha256 == sha256)).mappings().first()
            if row is None or not hmac.compare_digest(str(row["sha256"]), sha256) or row["revoked_at_ms"]:
                raise NotSignedIn(
                    "this token is unknown or was revoked: make another with `maillage token create`"
                )
            if row["expires_at_ms"] and row["expires_at_ms"] <= now_ms:
                raise NotSignedIn("this token has expired: make another with `maillage token create`")
            principal = _principal(db, row)
        if now_ms - int(row["used_at_ms"]) >= _USED_EVERY_S * 1000:
            self._write_used(sha256, now_ms)
        self._remember(sha256, principal, generation)
        return principal

    def _write_used(self, sha256: str, now_ms: int) -> None:
        """A disk that is full now must not keep people out: they could not even look what is wrong."""
        table = tables.tokens
        try:
            with self._engine.begin() as db:
                db.execute(sa.update(table).where(table.c.sha256 == sha256).values(used_at_ms=now_ms))
        except sa.exc.OperationalError as error:
            _log.warning("not written that a token was used", why=str(error.orig))

    def listed(self, *, user: str = "", site: str = "") -> list[TokenInfo]:
        """Live tokens of a user or a site (of all, where neither is named), newest first."""
        table = tables.tokens
        query = sa.select(table).where(table.c.revoked_at_ms == 0).order_by(table.c.made_at_ms.desc())
        if user:
            query = query.where(table.c.user == user)
        if site:
            query = query.where(table.c.site == site)
        with self._reader.connect() as db:
            return [_info(row) for row in db.execute(query).mappings()]

    def find(self, token_id: str) -> TokenInfo:
        """Raises NotFound, for a revoked token too."""
        query = sa.select(tables.tokens).where(
            tables.tokens.c.token_id == token_id, tables.tokens.c.revoked_at_ms == 0
        )
        with self._reader.connect() as db:
            row = db.execute(query).mappings().first()
        if row is None:
            raise NotFound(f"no token {token_id!r}")
        return _info(row)

    def revoke(self, token_id: str) -> None:
        """From this moment on the token is nobody's. Raises NotFound."""
        table = tables.tokens
        update = sa.update(table).where(table.c.token_id == token_id, table.c.revoked_at_ms == 0)
        with self._engine.begin() as db:
            changed = db.execute(update.values(revoked_at_ms=self._now_ms())).rowcount
        self.forget()
        if not changed:
            raise NotFound(f"no token {token_id!r}")

    def forget(self) -> None:
        """Somebody's access changed: ask the store again."""
        with self._lock:
            self._generation += 1
            self._known.clear()

    def _remember(self, sha256: str, principal: Principal, generation: int) -> None:
        now_s = time.monotonic()
        with self._lock:
            if generation != self._generation:
                return  # access changed while this was read
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[sha256] = _Known(principal, sha256, now_s, now_s)


def _info(row: sa.RowMapping | Mapping[str, object]) -> TokenInfo:
    def whole(key: str) -> int:
        return int(str(row[key]))

    return TokenInfo(
        token_id=str(row["token_id"]),
        name=str(row["name"]),
        user=str(row["user"] or ""),
        site=str(row["site"]),
        scopes=tuple(str(row["scopes"]).split()),
        project=str(row["only_project"]),
        made_at_ms=whole("made_at_ms"),
        expires_at_ms=whole("expires_at_ms"),
        used_at_ms=whole("used_at_ms"),
    )


def _principal(db: sa.Connection, row: sa.RowMapping) -> Principal:
    scopes = frozenset(TokenScope(scope) for scope in str(row["scopes"]).split()) or ALL_SCOPES
    token_id, expires_at_ms = str(row["token_id"]), int(row["expires_at_ms"])
    if row["site"]:
        return Principal(site=str(row["site"]), token_id=token_id, scopes=scopes, expires_at_ms=expires_at_ms)
    user, only = str(row["user"]), str(row["only_project"])
    admin = bool(db.scalar(sa.select(tables.users.c.admin).where(tables.users.c.user == user)))
    owns = _column(db, tables.org_owners.c.org, tables.org_owners.c.user == user)
    projects = _projects_of(db, user, owns)
    operated = sa.select(tables.operator_sites.c.site).join(
        tables.operator_people, tables.operator_people.c.operator == tables.operator_sites.c.operator
    )
    operates = frozenset(db.scalars(operated.where(tables.operator_people.c.user == user)))
    if only:
        role = Role.OWNER if admin else projects.get(only)
        admin, operates, owns = False, frozenset(), frozenset()
        projects = {only: role} if role else {}
    return Principal(
        user=user,
        admin=admin,
        operates=operates,
        owns=owns,
        projects=projects,
        token_id=token_id,
        scopes=scopes,
        only_project=only,
        expires_at_ms=expires_at_ms,
    )


def _projects_of(db: sa.Connection, user: str, owns: frozenset[str]) -> dict[str, Role]:
    members = tables.project_members
    rows = db.execute(sa.select(members.c.project, members.c.role).where(members.c.user == user))
    roles = {str(project): Role(role) for project, role in rows}
    owned = _column(db, tables.projects.c.project, tables.projects.c.org.in_(owns))
    return roles | dict.fromkeys(sorted(owned), Role.OWNER)


def _column(db: sa.Connection, column: sa.Column[str], where: sa.ColumnElement[bool]) -> frozenset[str]:
    return frozenset(db.scalars(sa.select(column).where(where)))
