"""The console's routes: the page, its live part, its script, and signing in with a token.

The cookie holds the token itself, out of reach of scripts, sent by this site's own pages only, and
counts for reading only (see `api.authorise`). Nothing on the page comes from elsewhere.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from maillage.access.roles import Action
from maillage.errors import NotSignedIn, UserError
from maillage.interfaces.api.authorise import COOKIE, Caller, authenticated, needs, open_to_all
from maillage.interfaces.api.parts import parts_of
from maillage.interfaces.console import outline
from maillage.interfaces.console.picture import Picture, picture

router = APIRouter(include_in_schema=False)

Watcher = Annotated[Caller, needs(Action.EVENTS_READ)]
_FORM_MAX_BYTES = 4096
_SESSION_S = 12 * 3600
_POLICY = (
    "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_PLAIN = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store"}


@cache
def _templates() -> Environment:
    loader = PackageLoader("maillage.interfaces.console", "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _page(template: str, status: int = 200, **values: object) -> HTMLResponse:
    nonce = secrets.token_urlsafe(12)
    html = _templates().get_template(template).render(nonce=nonce, **values)
    headers = {**_PLAIN, "Content-Security-Policy": _POLICY.format(nonce=nonce)}
    return HTMLResponse(html, status_code=status, headers=headers)


@router.get("/", dependencies=[open_to_all("leads whoever is not signed in to the form")])
async def page(request: Request) -> Response:
    """The console, or the way to the form that asks for a token."""
    parts = parts_of(request)
    try:
        principal = await authenticated(request, parts.access)
        principal.require(Action.EVENTS_READ)
    except UserError:
        return RedirectResponse("/login", status_code=303, headers=_PLAIN)
    shown = await _shown(Caller(principal, parts))
    return _page("page.html", p=shown, map=outline, user=principal.name)


async def _shown(caller: Caller) -> Picture:
    """What the caller may see; many who look cost what one costs."""
    projects = caller.projects
    key = ("picture", None if projects is None else frozenset(projects))
    return await caller.parts.live.shared(key, lambda: picture(caller.parts.service, projects))


@router.get("/console/live")
async def live(caller: Watcher) -> Response:
    """The part of the page that changes."""
    shown = await _shown(caller)
    html = _templates().get_template("live.html").render(p=shown, map=outline)
    return HTMLResponse(html, headers=_PLAIN)


@router.get("/console/console.js", dependencies=[open_to_all("a constant")])
async def script() -> Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    return Response(_script(), media_type="text/javascript", headers=headers)


@router.get("/login", dependencies=[open_to_all("the form that asks for a token")])
async def form() -> Response:
    return _page("login.html", trouble="")


@router.post("/login", dependencies=[open_to_all("checks the token that it is sent")])
async def login(request: Request) -> Response:
    """Take a token from this site's own form and keep it in the cookie."""
    try:
        _from_here(request)
        body = await _form_body(request)
        token = parse_qs(body.decode("ascii", "replace")).get("token", [""])[0].strip()
        access = parts_of(request).access
        principal = await run_in_threadpool(access.tokens.authenticate, token)
        principal.require(Action.EVENTS_READ)
    except UserError as error:
        return _page("login.html", status=error.http_status, trouble=str(error))
    answer = RedirectResponse("/", status_code=303, headers=_PLAIN)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, max_age=_SESSION_S, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout", dependencies=[open_to_all("forgets the browser's own cookie, nothing else")])
async def logout(request: Request) -> Response:
    _from_here(request)
    answer = RedirectResponse("/login", status_code=303, headers=_PLAIN)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@cache
def _script() -> bytes:
    return files("maillage.interfaces.console").joinpath("console.js").read_bytes()


def _from_here(request: Request) -> None:
    """Raises NotSignedIn when another site's page sent the form."""
    origin = request.headers.get("origin")
    fetched_by = request.headers.get("sec-fetch-site", "same-origin")
    if fetched_by not in ("same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")
    ):
        raise NotSignedIn("this form was sent from another site: open the console itself and sign in there")


async def _form_body(request: Request) -> bytes:
    body = b""
    async for data in request.stream():
        body += data
        if len(body) > _FORM_MAX_BYTES:
            raise NotSignedIn("that is no maillage token: it is far too long")
    return body
