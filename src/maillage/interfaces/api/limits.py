"""The outermost layer: every request is counted and its body bounded. Pure ASGI, so that it costs little."""

from __future__ import annotations

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maillage.errors import TooLarge
from maillage.interfaces.api.answers import error_answer
from maillage.interfaces.metrics import Metrics

JSON_MAX_BYTES = 8 * 1024 * 1024
ARTIFACT_MAX_BYTES = 2 * 1024**3
_ARTIFACTS = "/api/v1/artifacts/"
_SLOW_S = 5.0  # long polls and streams are slower by design and are not logged for it

log = structlog.get_logger("http")


class Outermost:
    """Counts by route template (never by path: ids would make series without end)."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        max_bytes = ARTIFACT_MAX_BYTES if scope["path"].startswith(_ARTIFACTS) else JSON_MAX_BYTES
        try:
            if _declared_bytes(scope) > max_bytes:
                await error_answer(_too_large(max_bytes))(scope, receive, sending)
            else:
                await self._app(scope, _bounded(receive, max_bytes), sending)
        finally:
            route = getattr(scope.get("route"), "path", "") or "other"
            self._metrics.http(scope["method"], route, status, time.perf_counter() - began_s)
            if status >= 500:
                log.warning("request failed", method=scope["method"], route=route, status=status)


def _bounded(receive: Receive, max_bytes: int) -> Receive:
    taken = 0

    async def receiving() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > max_bytes:
                raise _too_large(max_bytes)
        return message

    return receiving


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"this body is too large: {max_bytes // 1024**2} MiB is the most taken here")
