"""How a part of the API makes its router: prefix, tag, how bodies are read, what troubles it may answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from maillage.interfaces.api.shapes import Troubled

PREFIX = "/api/v1"

_TROUBLES: dict[int | str, dict[str, Any]] = {
    status: {"model": Troubled, "description": what}
    for status, what in {
        401: "No token, or one that is unknown, revoked or expired",
        403: "The role does not allow it",
        404: "Not there, or not seen",
        409: "The state of things forbids it",
        422: "What came in breaks a rule; `problems` lists all of them",
    }.items()
}


class _StrictRequest(Request):
    """Its JSON is what may go on into the log: finite numbers, and text that is valid UTF-8."""

    async def json(self) -> Any:
        return orjson.loads(await self.body())


class _Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly


def api_router(tag: str) -> APIRouter:
    return APIRouter(prefix=PREFIX, tags=[tag], responses=_TROUBLES, route_class=_Route)
