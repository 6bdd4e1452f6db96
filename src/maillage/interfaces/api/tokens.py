"""Tokens: one's own, those of a site's agent for its operator, anybody's for an admin."""

from __future__ import annotations

from typing import Annotated

from starlette.responses import Response

from maillage.access.principal import ALL_SCOPES, Principal
from maillage.access.roles import Action
from maillage.access.tokens import TokenInfo, wall_ms
from maillage.errors import NotAllowed, NotFound
from maillage.interfaces.api import shapes
from maillage.interfaces.api.answers import JsonAnswer, told
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.routers import api_router

router = api_router("people")

Someone = Annotated[Caller, needs(Action.TOKEN_OWN)]


@router.get("/tokens", response_model=shapes.Items, operation_id="listTokens")
def listed(caller: Someone, everybody: bool = False) -> JsonAnswer:
    """One's own live tokens and those of one's sites; admins may see everybody's. Never a token itself."""
    if everybody:
        caller.require(Action.USER_MANAGE)
    tokens = caller.parts.access.tokens.listed(user="" if everybody else caller.principal.user)
    if not everybody:
        for site in sorted(caller.principal.operates):
            tokens += caller.parts.access.tokens.listed(site=site)
    return JsonAnswer({"items": [told(token) for token in tokens]})


@router.post("/tokens", status_code=201, response_model=shapes.TokenMade, operation_id="issueToken")
def issue(body: shapes.TokenAsked, caller: Someone) -> JsonAnswer:
    """Issue a token; it is shown this once. It can do no more, and last no longer, than the one that asks."""
    user = "" if body.site else body.user or caller.principal.user
    if body.site:
        caller.require(Action.SITE_TOKEN, site=body.site)
    elif user != caller.principal.user:
        caller.require(Action.USER_MANAGE)
        caller.parts.access.people.user(user)
    if body.project:
        caller.see_project(body.project)
        caller.parts.access.people.project(body.project)
    scopes = _no_wider(body, caller.principal)
    token, info = caller.parts.access.tokens.issue(
        name=body.name,
        user=user,
        site=body.site,
        scopes=scopes,
        only_project=body.project or caller.principal.only_project,
        expires_at_ms=_no_later(body.expires_in_s, caller.principal),
        issued_by=caller.principal.name,
    )
    return JsonAnswer(told(info) | {"token": token}, status_code=201)


@router.delete("/tokens/{token_id}", status_code=204, operation_id="revokeToken")
def revoke(token_id: str, caller: Someone) -> Response:
    """The token is nobody's from this moment on."""
    found = caller.parts.access.tokens.find(token_id)
    if not _in_hand(found, caller.principal):
        raise NotFound(f"no token {token_id!r}")  # as for one that is not there: ids are not to be tried out
    caller.parts.access.tokens.revoke(token_id)
    return Response(status_code=204)


def _in_hand(token: TokenInfo, who: Principal) -> bool:
    if token.site:
        return who.may(Action.SITE_TOKEN, site=token.site)
    return token.user == who.user or who.may(Action.USER_MANAGE)


def _no_wider(body: shapes.TokenAsked, who: Principal) -> list[str]:
    """The scopes asked for; a narrowed token passes its own narrowness on. Raises NotAllowed."""
    if body.site:
        return []  # an agent's role is all it has
    scopes: list[str] = list(body.scopes)
    if not scopes and who.scopes != ALL_SCOPES:
        scopes = sorted(who.scopes)
    wider = sorted(set(scopes) - who.scopes)
    if wider:
        raise NotAllowed(f"this token lacks the scope {', '.join(wider)} itself and so cannot give it")
    if who.only_project and body.project not in ("", who.only_project):
        raise NotAllowed(f"this token is for project {who.only_project!r} only")
    return scopes


def _no_later(expires_in_s: int, who: Principal) -> int:
    wanted_ms = wall_ms() + expires_in_s * 1000 if expires_in_s else 0
    if who.expires_at_ms and (not wanted_ms or wanted_ms > who.expires_at_ms):
        return who.expires_at_ms
    return wanted_ms
