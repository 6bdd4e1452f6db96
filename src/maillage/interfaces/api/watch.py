"""What machines watch: `/healthz` and `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from maillage.access.roles import Action
from maillage.interfaces.api.answers import JsonAnswer
from maillage.interfaces.api.authorise import authenticated, open_to_all
from maillage.interfaces.api.parts import Parts, parts_of

router = APIRouter(tags=["network"])

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get(
    "/healthz", operation_id="getHealth", dependencies=[open_to_all("says only whether the process is well")]
)
async def healthz(request: Request) -> JsonAnswer:
    """200 when the loop runs, can write, and every embedded agent has synced; 503 with what is missing."""
    parts = parts_of(request)
    unready = parts.unready()
    if parts.service.failure is not None:
        unready = [f"the loop has ended: {type(parts.service.failure).__name__}", *unready]
    if parts.service.refusing is not None:
        unready = ["room to write: everything that would change the network is refused", *unready]
    body = {"ready": not unready, "waiting_for": unready}
    return JsonAnswer(body, status_code=503 if unready else 200)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    dependencies=[open_to_all("open on loopback only; elsewhere the route asks for a token itself")],
)
async def metrics(request: Request) -> Response:
    """Prometheus. Needs a token as soon as the server listens beyond this machine."""
    parts: Parts = parts_of(request)
    if not parts.open_metrics:
        (await authenticated(request, parts.access)).require(Action.STATUS_READ)
    status, sites = await parts.service.status(), await parts.service.sites()
    return Response(parts.metrics.text(status, sites), media_type=_TEXT)
