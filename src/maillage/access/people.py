"""Organisations, projects, users and operators: who belongs where. Every change is one transaction."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from maillage.access import tables
from maillage.access.roles import Role
from maillage.access.tokens import wall_ms
from maillage.errors import Conflict, Invalid, NotFound

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
_T = TypeVar("_T")
_PROJECT_ROLES = (Role.MEMBER, Role.VIEWER)


@dataclass(frozen=True, slots=True)
class Org:
    org: str
    owners: tuple[str, ...]
    made_at_ms: int


@dataclass(frozen=True, slots=True)
class Project:
    project: str
    org: str
    made_at_ms: int


@dataclass(frozen=True, slots=True)
class User:
    user: str
    full_name: str
    admin: bool
    made_at_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    user: str
    role: Role


@dataclass(frozen=True, slots=True)
class Operator:
    operator: str
    people: tuple[str, ...]
    sites: tuple[str, ...]


def checked_name(name: str, what: str) -> str:
    """A short name: lowercase letters, digits, `.`, `_`, `-`; 64 at most. Raises Invalid."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:80]!r} is no name for {what}: use 1 to 64 lowercase letters, digits, '.', '_' or '-', "
            "beginning and ending with a letter or digit"
        )
    return name


class People:
    """`changed` is called after every change, so that nobody acts on an old role."""

    def __init__(
        self,
        engine: sa.Engine,
        changed: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)  # a read takes no write lock
        self._changed = changed
        self._now_ms = now_ms

    def make_org(self, org: str, owner: str = "") -> Org:
        """Raises Invalid, Conflict when the name is taken, NotFound when the owner is unknown."""
        checked_name(org, "an organisation")
        rows: list[tuple[sa.Table, dict[str, object]]] = [
            (tables.orgs, {"org": org, "made_at_ms": self._now_ms()}),
        ]
        if owner:
            self.user(owner)
            rows.append((tables.org_owners, {"org": org, "user": owner}))
        self._insert(f"there is an organisation {org!r} already", *rows)
        return self.org(org)

    def make_project(self, project: str, org: str) -> Project:
        """Raises Invalid, Conflict when the name is taken, NotFound when the organisation is unknown."""
        checked_name(project, "a project")
        self.org(org)
        row: dict[str, object] = {"project": project, "org": org, "made_at_ms": self._now_ms()}
        self._insert(
            f"there is a project {project!r} already: names are the network's", (tables.projects, row)
        )
        return self.project(project)

    def make_user(self, user: str, full_name: str = "", *, admin: bool = False) -> User:
        """Raises Invalid, Conflict when the name is taken."""
        checked_name(user, "a user")
        row: dict[str, object] = {
            "user": user, "full_name": full_name, "admin": admin, "made_at_ms": self._now_ms(),
        }  # fmt: skip
        self._insert(f"there is a user {user!r} already", (tables.users, row))
        return self.user(user)

    def make_operator(self, operator: str) -> Operator:
        checked_name(operator, "an operator")
        row: dict[str, object] = {"operator": operator, "made_at_ms": self._now_ms()}
        self._insert(f"there is an operator {operator!r} already", (tables.operators, row))
        return self.operator(operator)

    def own(self, org: str, user: str) -> Org:
        """Makes a user an owner of an organisation; once more changes nothing. Raises NotFound."""
        self.user(user)
        if user not in self.org(org).owners:
            self._insert("", (tables.org_owners, {"org": org, "user": user}))
        return self.org(org)

    def disown(self, org: str, user: str) -> None:
        """Raises NotFound, Conflict for the last owner: nobody could give the organisation another."""
        owners = self.org(org).owners
        if user not in owners:
            raise NotFound(f"{user!r} does not own organisation {org!r}")
        if len(owners) == 1:
            raise Conflict(f"{user!r} is the last owner of organisation {org!r}: name another owner first")
        table = tables.org_owners
        self._write(sa.delete(table).where(table.c.org == org, table.c.user == user))

    def join(self, project: str, user: str, role: str) -> Member:
        """Gives a user a role in a project, or changes it. Raises NotFound, Invalid."""
        if role not in _PROJECT_ROLES:
            raise Invalid(f"{role!r} is no role in a project: use {' or '.join(_PROJECT_ROLES)}")
        self.project(project)
        self.user(user)
        table = tables.project_members
        here = (table.c.project == project, table.c.user == user)
        with self._engine.begin() as db:
            changed = db.execute(sa.update(table).where(*here).values(role=role)).rowcount
            if not changed:
                db.execute(sa.insert(table).values(project=project, user=user, role=role))
        self._changed()
        return Member(user, Role(role))

    def leave(self, project: str, user: str) -> None:
        """Raises NotFound."""
        table = tables.project_members
        if not self._write(sa.delete(table).where(table.c.project == project, table.c.user == user)):
            raise NotFound(f"{user!r} is no member of project {project!r}")

    def work_for(self, operator: str, user: str) -> Operator:
        """Makes a user one of an operator's people. Raises NotFound."""
        self.user(user)
        if user not in self.operator(operator).people:
            self._insert("", (tables.operator_people, {"operator": operator, "user": user}))
        return self.operator(operator)

    def run_site(self, operator: str, site: str) -> Operator:
        """Gives a site to an operator, from whoever had it. Raises NotFound."""
        self.operator(operator)
        table = tables.operator_sites
        if not self._write(sa.update(table).where(table.c.site == site).values(operator=operator)):
            self._insert("", (table, {"site": site, "operator": operator}))
        return self.operator(operator)

    def org(self, org: str) -> Org:
        return _one([found for found in self.orgs() if found.org == org], f"no organisation {org!r}")

    def orgs(self) -> list[Org]:
        with self._reader.connect() as db:
            owners: dict[str, list[str]] = {}
            for org, user in db.execute(sa.select(tables.org_owners.c.org, tables.org_owners.c.user)):
                owners.setdefault(org, []).append(user)
            rows = db.execute(sa.select(tables.orgs).order_by(tables.orgs.c.org))
            return [Org(row.org, tuple(sorted(owners.get(row.org, ()))), row.made_at_ms) for row in rows]

    def project(self, project: str) -> Project:
        query = sa.select(tables.projects).where(tables.projects.c.project == project)
        return _one(self._projects(query), f"no project {project!r}")

    def projects(self) -> list[Project]:
        return self._projects(sa.select(tables.projects).order_by(tables.projects.c.project))

    def user(self, user: str) -> User:
        query = sa.select(tables.users).where(tables.users.c.user == user)
        return _one(self._users(query), f"no user {user!r}: an administrator makes users")

    def users(self) -> list[User]:
        return self._users(sa.select(tables.users).order_by(tables.users.c.user))

    def members(self, project: str) -> list[Member]:
        """Members and viewers, and the organisation's owners as owners. Raises NotFound."""
        owners = self.org(self.project(project).org).owners
        table = tables.project_members
        query = sa.select(table.c.user, table.c.role).where(table.c.project == project).order_by(table.c.user)
        with self._reader.connect() as db:
            others = [Member(user, Role(role)) for user, role in db.execute(query) if user not in owners]
        return [Member(user, Role.OWNER) for user in owners] + others

    def operator(self, operator: str) -> Operator:
        return _one(
            [found for found in self.operators() if found.operator == operator], f"no operator {operator!r}"
        )

    def operators(self) -> list[Operator]:
        with self._reader.connect() as db:
            names = list(
                db.scalars(sa.select(tables.operators.c.operator).order_by(tables.operators.c.operator))
            )
            people = list(
                db.execute(sa.select(tables.operator_people.c.operator, tables.operator_people.c.user))
            )
            sites = list(
                db.execute(sa.select(tables.operator_sites.c.operator, tables.operator_sites.c.site))
            )
        return [
            Operator(
                name,
                tuple(sorted(user for operator, user in people if operator == name)),
                tuple(sorted(site for operator, site in sites if operator == name)),
            )
            for name in names
        ]

    def _projects(self, query: sa.Select[tuple[object, ...]]) -> list[Project]:
        with self._reader.connect() as db:
            return [Project(row.project, row.org, row.made_at_ms) for row in db.execute(query)]

    def _users(self, query: sa.Select[tuple[object, ...]]) -> list[User]:
        with self._reader.connect() as db:
            return [User(row.user, row.full_name, row.admin, row.made_at_ms) for row in db.execute(query)]

    def _insert(self, taken: str, *rows: tuple[sa.Table, dict[str, object]]) -> None:
        """All in one transaction. Raises Conflict with `taken`; without it, a row that is there is fine."""
        try:
            with self._engine.begin() as db:
                for table, row in rows:
                    db.execute(sa.insert(table).values(row))
        except IntegrityError:
            if taken:
                raise Conflict(taken) from None
        self._changed()

    def _write(self, statement: sa.Update | sa.Delete) -> int:
        with self._engine.begin() as db:
            changed = db.execute(statement).rowcount
        self._changed()
        return changed


def _one(found: list[_T], missing: str) -> _T:
    if not found:
        raise NotFound(missing)
    return found[0]
