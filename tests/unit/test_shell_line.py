"""A shell's websocket when its peer leaves, or is refused: no fault of ours, so nothing is raised."""

from __future__ import annotations

from typing import Any

from starlette.websockets import WebSocket

from maillage.control.shells import Shells
from maillage.errors import NotFound
from maillage.interfaces.api.answers import on_user_error
from maillage.interfaces.api.shell import _join

CONNECT = {"type": "websocket.connect"}
GONE = {"type": "websocket.disconnect", "code": 1006}


def line(heard: list[dict[str, Any]]) -> tuple[WebSocket, list[str]]:
    """A websocket that hears these messages; like a server it takes nothing after the end."""
    said: list[str] = []
    gone = False

    async def receive() -> dict[str, Any]:
        nonlocal gone
        message = heard.pop(0)
        gone = message["type"] == "websocket.disconnect"
        return message

    async def send(message: Any) -> None:
        if gone or "websocket.http.response.body" in said:
            raise RuntimeError(f"unexpected {message['type']}")
        said.append(message["type"])

    scope = {"type": "websocket", "extensions": {"websocket.http.response": {}}, "headers": []}
    return WebSocket(scope, receive, send), said


async def test_a_line_whose_peer_has_gone_is_not_closed_once_more() -> None:
    websocket, said = line([CONNECT, {"type": "websocket.receive", "bytes": b"ls\n"}, GONE])
    await websocket.accept()
    shells = Shells(lambda _site, _shell: None)
    shell_id = shells.open("paris")
    site = await shells.site(shell_id, "paris")
    await _join(websocket, await shells.person(shell_id))
    assert said == ["websocket.accept"]
    assert await site.receive() == b"ls\n"
    assert await site.receive() is None


async def test_a_line_that_is_refused_is_answered_once() -> None:
    websocket, said = line([CONNECT])
    assert await on_user_error(websocket, NotFound("no such worker")) is None
    assert said == ["websocket.http.response.start", "websocket.http.response.body"]
