"""Shells: a person's websocket and the site's, joined where they meet in the service.

Binary frames are what the terminal says, text frames are notes (`{"resize": [rows, columns]}`,
`{"exit": code}`). What goes wrong before the line is open is answered as HTTP, with the usual body.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

from fastapi import Query, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from maillage.access.roles import Action
from maillage.control.shells import End
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.routers import api_router

router = api_router("jobs")

Person = Annotated[Caller, needs(Action.JOB_SHELL)]
Agent = Annotated[Caller, needs(Action.SITE_AGENT)]


@router.websocket("/jobs/{job}/shell")
async def person(
    websocket: WebSocket, job: str, caller: Person, worker: Annotated[int, Query(ge=0)] = 0
) -> None:
    """A shell in a running job. The line opens when the site has dialled in."""
    found = await caller.job(job, Action.JOB_SHELL)
    service = caller.parts.service
    shell_id = await service.open_shell(found["id"], worker)
    try:
        end = await service.shells.person(shell_id)
        await websocket.accept()
        await _join(websocket, end)
    finally:
        service.shells.close(shell_id)


@router.websocket("/sites/{site}/shells/{shell_id}")
async def site(websocket: WebSocket, site: str, shell_id: str, caller: Agent) -> None:
    """The site's end of a shell that a sync told it of."""
    caller.require(Action.SITE_AGENT, site=site)
    shells = caller.parts.service.shells
    end = await shells.site(shell_id, site)
    try:
        await websocket.accept()
        await _join(websocket, end)
    finally:
        shells.close(shell_id)


async def _join(websocket: WebSocket, end: End) -> None:
    """Carry both ways until either side is gone; what was sent by then still arrives."""
    inward = asyncio.create_task(_inward(websocket, end))
    outward = asyncio.create_task(_outward(websocket, end))
    try:
        done, _ = await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_COMPLETED)
        if inward in done:
            end.close()
            await outward
    finally:
        inward.cancel()
        outward.cancel()
        await asyncio.gather(inward, outward, return_exceptions=True)
    if websocket.application_state is websocket.client_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the peer left in this very moment
            await websocket.close()


async def _inward(websocket: WebSocket, end: End) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        await end.send(data if data is not None else message["text"])


async def _outward(websocket: WebSocket, end: End) -> None:
    while (message := await end.receive()) is not None:
        try:
            if isinstance(message, bytes):
                await websocket.send_bytes(message)
            else:
                await websocket.send_text(message)
        except (WebSocketDisconnect, RuntimeError):
            return  # the reader of this line has gone
