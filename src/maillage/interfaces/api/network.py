"""The network as a whole: its state, its log, its live stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import StreamingResponse

from maillage.access.roles import Action
from maillage.interfaces.api import shapes
from maillage.interfaces.api.answers import JsonAnswer, json_bytes
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.routers import api_router
from maillage.interfaces.live import Live

router = api_router("network")

Reader = Annotated[Caller, needs(Action.STATUS_READ)]
Watcher = Annotated[Caller, needs(Action.EVENTS_READ)]
LogReader = Annotated[Caller, needs(Action.LOG_READ)]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get("/status", operation_id="getStatus")
async def status(caller: Reader) -> JsonAnswer:
    """Version, uptime, counts and policy."""
    return JsonAnswer(await caller.parts.service.status())


@router.get("/log", response_model=shapes.Items, operation_id="readLog")
async def log(
    caller: LogReader,
    after: Annotated[int, Query(ge=0, description="Only entries with a greater offset")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> JsonAnswer:
    """The raw log, enough to replay every decision."""
    return JsonAnswer({"items": await caller.parts.service.log_entries(after, limit)})


@router.get("/events", operation_id="followEvents", response_class=StreamingResponse, responses=_STREAM)
async def events(caller: Watcher) -> StreamingResponse:
    """Server-sent events: a `state` frame now and after changes, at most one a second."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(caller.parts.live), media_type="text/event-stream", headers=headers)


async def _stream(live: Live) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    async for frame in live.frames():
        if not frame:
            yield b": still here\n\n"
            continue
        number = str(frame.get("offset") or 0).encode()
        yield b"event: state\nid: " + number + b"\ndata: " + json_bytes(frame) + b"\n\n"
