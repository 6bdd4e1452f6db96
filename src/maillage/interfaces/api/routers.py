"""How a part of the API makes its router: one prefix, its tag, the troubles that every route may answer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

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


def api_router(tag: str) -> APIRouter:
    return APIRouter(prefix=PREFIX, tags=[tag], responses=_TROUBLES)
