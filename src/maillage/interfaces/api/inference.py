"""The gateway's place among the routes: who may call a model, and who pays for it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from maillage.access.open import DEFAULT
from maillage.access.principal import Principal
from maillage.access.roles import RULES, Action
from maillage.errors import NotAllowed, NotFound
from maillage.interfaces.api.authorise import holder
from maillage.interfaces.api.parts import Parts
from maillage.serving.counters import LoggedUsage
from maillage.serving.gateway import Gateway, routes
from maillage.serving.metering import Caller

ACTION = Action.ENDPOINT_CALL  # of every route of the gateway, which authorises by itself
PREFIX = "/v1"


def gateway_over(parts: Parts) -> Gateway:
    """A gateway that authorises by the same tokens and meters into the log."""

    async def authorise(token: str, project: str) -> Caller:
        principal = await holder(token, parts.access)
        return await run_in_threadpool(_caller, parts, principal, project)

    return Gateway(parts.service, authorise, LoggedUsage(parts.service.record_usage))


def routes_of(gateway: Gateway) -> APIRouter:
    return routes(gateway)


def _caller(parts: Parts, who: Principal, project: str) -> Caller:
    """Raises NotAllowed where the caller may call no model, NotFound for a project not seen."""
    who.require(ACTION)
    roles = RULES[ACTION].roles
    usable = {name for name, role in who.projects.items() if role in roles}
    if project and not who.admin and project not in usable:
        raise NotFound(
            f"no project {project!r} whose models you may call; there are: {', '.join(sorted(usable))}"
        )
    if not usable and not who.admin:
        raise NotAllowed(f"{who.name!r} is in no project that could pay for a model's answer")
    payer = project or (DEFAULT if who.admin or DEFAULT in usable else min(usable))
    org = parts.access.org_of(payer)
    return Caller(user=who.name, org=org, project=payer, projects=None if who.admin else usable)
