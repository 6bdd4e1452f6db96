"""Who calls, and whether they may: every route declares its action here.

A route names its action with `needs(...)` (a gate before anything is read) and asks again, with
`Caller.require`, about the one project, organisation or site that it turned out to concern. A test walks
all routes and fails on one that declares nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from maillage.access.open import Access
from maillage.access.principal import Principal
from maillage.access.roles import Action
from maillage.errors import NotFound, NotSignedIn
from maillage.interfaces.api.parts import Parts, parts_of

COOKIE = "maillage_session"


@dataclass(frozen=True, slots=True)
class Caller:
    """The principal of this request, with the parts that a route works on."""

    principal: Principal
    parts: Parts

    def require(self, action: Action, *, project: str = "", org: str = "", site: str = "") -> None:
        self.principal.require(action, project=project, org=org, site=site)

    @property
    def projects(self) -> set[str] | None:
        """Projects whose things this caller may see; None for all."""
        visible = self.principal.visible_projects()
        return None if visible is None else set(visible)

    async def job(self, ref: str, action: Action) -> dict[str, Any]:
        """The job, if the caller sees it (else NotFound) and may do `action` on it (else NotAllowed)."""
        job = await self.parts.service.job(ref, self.projects)
        self.require(action, project=job["project"])
        return job

    async def endpoint(self, name: str, action: Action) -> dict[str, Any]:
        endpoint = await self.parts.service.endpoint(name, self.projects)
        self.require(action, project=endpoint["project"])
        return endpoint

    def see_project(self, project: str) -> None:
        """Raises NotFound for a project that the caller does not see, whether it exists or not."""
        visible = self.projects
        if visible is not None and project not in visible:
            known = ", ".join(sorted(visible)) or "none"
            raise NotFound(f"no project {project!r} that {self.principal.name!r} may see; there are: {known}")


class Open:
    """Declares that a route needs no token. `why` is shown by the route test when it is asked for."""

    def __init__(self, why: str) -> None:
        self.why = why

    async def __call__(self) -> None:
        return None


class Needs:
    """A dependency: authenticates, and lets through who may do `action` on anything at all."""

    def __init__(self, action: Action) -> None:
        self.action = action

    async def __call__(self, connection: HTTPConnection) -> Caller:
        parts = parts_of(connection)
        principal = await authenticated(connection, parts.access)
        principal.require(self.action)
        return Caller(principal, parts)


def needs(action: Action) -> Any:
    """For a parameter: `caller: Annotated[Caller, needs(Action.JOB_READ)]`."""
    return Depends(Needs(action))


def open_to_all(why: str) -> Any:
    return Depends(Open(why))


async def authenticated(connection: HTTPConnection, access: Access) -> Principal:
    """The principal of the Authorization header, or of the console's cookie where that is allowed.

    The cookie counts for reading only (GET and HEAD over HTTP): a page elsewhere cannot make a
    browser change anything. Raises NotSignedIn.
    """
    token = _bearer(connection) or _cookie(connection)
    if not token:
        raise NotSignedIn("no token: send `Authorization: Bearer mlg_...`")
    return await holder(token, access)


async def holder(token: str, access: Access) -> Principal:
    """Who holds a token; the store is asked in a thread, and only when it was not a moment ago."""
    known = access.tokens.known(token)
    if known is not None:
        return known
    return await run_in_threadpool(access.tokens.authenticate, token)


def _bearer(connection: HTTPConnection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie(connection: HTTPConnection) -> str:
    reads = connection.scope["type"] == "http" and connection.scope["method"] in ("GET", "HEAD")
    return connection.cookies.get(COOKIE, "") if reads else ""


Reader = Annotated[Caller, needs(Action.STATUS_READ)]
