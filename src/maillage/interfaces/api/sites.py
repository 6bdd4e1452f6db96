"""Sites: look, operate, and the one call of a site's agent."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from maillage.access.roles import Action
from maillage.control.protocol import LogPush, SyncRequest, SyncResponse
from maillage.errors import Problem, Problems
from maillage.interfaces.api import shapes
from maillage.interfaces.api.answers import JsonAnswer
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.routers import api_router

router = api_router("sites")

Reader = Annotated[Caller, needs(Action.SITE_READ)]
Operator = Annotated[Caller, needs(Action.SITE_OPERATE)]
Agent = Annotated[Caller, needs(Action.SITE_AGENT)]

_T = TypeVar("_T")
_SYNC: TypeAdapter[SyncRequest] = TypeAdapter(SyncRequest)
_ANSWER: TypeAdapter[SyncResponse] = TypeAdapter(SyncResponse)
_LOGS: TypeAdapter[LogPush] = TypeAdapter(LogPush)


@router.get("/sites", response_model=shapes.Items, operation_id="listSites")
async def listed(caller: Reader) -> JsonAnswer:
    """All sites with their load, power and signals."""
    return JsonAnswer({"items": await caller.parts.service.sites()})


@router.get("/sites/{site}", response_model=shapes.Site, operation_id="getSite")
async def shown(site: str, caller: Reader) -> JsonAnswer:
    """One site."""
    return JsonAnswer(await caller.parts.service.site(site))


@router.post("/sites/{site}/drain", response_model=shapes.Site, operation_id="drainSite")
async def drain(site: str, body: shapes.ReasonAsked, caller: Operator) -> JsonAnswer:
    """No new work for the site; what runs there runs on."""
    await _operate(caller, site)
    user = caller.principal.name
    return JsonAnswer(await caller.parts.service.drain(site, reason=body.reason, user=user))


@router.post("/sites/{site}/resume", response_model=shapes.Site, operation_id="resumeSite")
async def resume(site: str, body: shapes.ReasonAsked, caller: Operator) -> JsonAnswer:
    """The site takes new work again."""
    await _operate(caller, site)
    user = caller.principal.name
    return JsonAnswer(await caller.parts.service.resume(site, reason=body.reason, user=user))


@router.post("/sites/{site}/limit", response_model=shapes.Site, operation_id="limitSite")
async def limit(site: str, body: shapes.LimitAsked, caller: Operator) -> JsonAnswer:
    """What the site may draw at its facility meter from now on."""
    await _operate(caller, site)
    return JsonAnswer(await caller.parts.service.limit(site, kw=body.kw, user=caller.principal.name))


@router.post("/sites/{site}/cut", response_model=shapes.Site, operation_id="cutSite")
async def cut(site: str, body: shapes.CutAsked, caller: Operator) -> JsonAnswer:
    """A drill: the site's embedded agent is silent for `for_s`; 0 ends it. 409 where it is not embedded."""
    await _operate(caller, site)
    caller.parts.cut(site, body.for_s)
    return JsonAnswer(await caller.parts.service.site(site))


@router.post("/sites/{site}/sync", operation_id="syncSite", tags=["agents"])
async def sync(site: str, request: Request, caller: Agent) -> Response:
    """What the site has, for what it should have; held until there is news. See docs/reference/sync.md."""
    caller.require(Action.SITE_AGENT, site=site)
    answer = await caller.parts.service.sync(site, _checked(_SYNC, await request.body()))
    return Response(_ANSWER.dump_json(answer), media_type="application/json")


@router.post("/sites/{site}/logs", status_code=204, operation_id="pushLogs", tags=["agents"])
async def logs(site: str, request: Request, caller: Agent) -> Response:
    """Output of the site's runs; the same chunk twice changes nothing."""
    caller.require(Action.SITE_AGENT, site=site)
    await caller.parts.service.push_logs(site, _checked(_LOGS, await request.body()))
    return Response(status_code=204)


async def _operate(caller: Caller, site: str) -> None:
    """Raises NotFound for an unknown site, then NotAllowed for a stranger's."""
    await caller.parts.service.site(site)
    caller.require(Action.SITE_OPERATE, site=site)


def _checked(adapter: TypeAdapter[_T], body: bytes) -> _T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        problems = [
            Problem(".".join(map(str, item["loc"])), item["msg"], source="request") for item in error.errors()
        ]
        raise Problems(problems) from None
