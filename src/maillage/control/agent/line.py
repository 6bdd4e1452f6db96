"""The line to the control plane: every call of the agent goes through here, so silence is one switch."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import TypeAdapter

from maillage.control.protocol import LogPush, SyncRequest, SyncResponse

_REQUEST: TypeAdapter[SyncRequest] = TypeAdapter(SyncRequest)
_RESPONSE: TypeAdapter[SyncResponse] = TypeAdapter(SyncResponse)
_PUSH: TypeAdapter[LogPush] = TypeAdapter(LogPush)

_CALL_S = 15.0  # beyond what an answer may be held
_STALL_S = 60.0  # a transfer that moves nothing for so long is broken
_BLOCK = 1024 * 1024


class LineDown(Exception):
    """The control plane is not there, or not well: the same call will do later."""


class Refused(Exception):
    """The control plane understood and said no: the same call will never do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Backoff:
    """Waits that grow and never march in step."""

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._first_s, self._most_s, self._next_s = first_s, most_s, first_s

    async def wait(self) -> None:
        delay_s = self._next_s * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        self._next_s = min(self._most_s, self._next_s * 2)
        await asyncio.sleep(delay_s)

    def reset(self) -> None:
        self._next_s = self._first_s


class Line:
    """Authorised calls for one site. Use as an async context manager."""

    def __init__(self, site: str, url: str, token: str) -> None:
        self._base = f"{url.rstrip('/')}/api/v1"
        self._site = site
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None
        self._silent_until_s = 0.0
        self._changed = asyncio.Event()  # a cut was made longer or shorter: look again
        self._hanging_up: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Line:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def cut(self, for_s: float) -> None:
        """No call leaves, none is answered, for so long: those under way are dropped at once.

        The newest cut counts; one of 0 s lifts the one before.
        """
        self._silent_until_s = time.monotonic() + for_s
        before, self._changed = self._changed, asyncio.Event()
        before.set()
        if for_s <= 0:
            return
        if self._session is not None and self._session.connector is not None:
            self._hanging_up = asyncio.create_task(_hang_up(self._session.connector))

    @property
    def is_cut(self) -> bool:
        return time.monotonic() < self._silent_until_s

    async def _open(self) -> aiohttp.ClientSession:
        while (left_s := self._silent_until_s - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left_s)
        connector = self._session.connector if self._session is not None else None
        if self._session is None or connector is None or connector.closed:
            if self._session is not None:
                await self._session.close()
            self._session = aiohttp.ClientSession(
                headers=self._headers, connector=aiohttp.TCPConnector(limit=32), auto_decompress=False
            )
        return self._session

    @asynccontextmanager
    async def _call(
        self, method: str, path: str, total_s: float | None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = await self._open()
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=5.0, sock_read=total_s or _STALL_S)
        try:
            async with session.request(method, self._base + path, timeout=timeout, **options) as response:
                if response.status >= 500 or response.status in (408, 429):
                    raise LineDown(f"{method} {path}: {response.status}")
                if response.status >= 400:
                    raise Refused(response.status, await _message(response))
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            raise LineDown(f"{method} {path}: {error or type(error).__name__}") from error

    async def sync(self, request: SyncRequest) -> SyncResponse:
        path = f"/sites/{self._site}/sync"
        headers = {"Content-Type": "application/json"}
        body = _REQUEST.dump_json(request)
        async with self._call("POST", path, request.wait_s + _CALL_S, data=body, headers=headers) as response:
            return _RESPONSE.validate_json(await response.read())

    async def push_logs(self, push: LogPush) -> None:
        path = f"/sites/{self._site}/logs"
        headers = {"Content-Type": "application/json"}
        async with self._call("POST", path, _CALL_S, data=_PUSH.dump_json(push), headers=headers):
            pass

    async def has_artifact(self, digest: str) -> bool:
        try:
            async with self._call("HEAD", f"/artifacts/{digest}", _CALL_S):
                return True
        except Refused as refusal:
            if refusal.status == 404:
                return False
            raise

    async def download(self, digest: str) -> AsyncIterator[bytes]:
        async with self._call("GET", f"/artifacts/{digest}", None) as response:
            async for chunk in response.content.iter_chunked(_BLOCK):
                yield chunk

    async def upload(self, digest: str, path: Path) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        with path.open("rb") as file:
            async with self._call("PUT", f"/artifacts/{digest}", None, data=file, headers=headers):
                pass

    @asynccontextmanager
    async def shell(self, shell_id: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        session = await self._open()
        try:
            url = f"{self._base}/sites/{self._site}/shells/{shell_id}"
            async with session.ws_connect(url, heartbeat=20.0, max_msg_size=_BLOCK) as socket:
                yield socket
        except (aiohttp.ClientError, ConnectionError) as error:
            raise LineDown(f"shell {shell_id}: {error}") from error


async def _hang_up(connector: aiohttp.BaseConnector) -> None:
    await connector.close()


async def _message(response: aiohttp.ClientResponse) -> str:
    """What the control plane says is wrong."""
    try:
        body = await response.json()
        return str(body["error"]["message"])
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        return f"answered {response.status}"
