"""The line of the awaiting client: httpx, imported when the first client is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from maillage.errors import Unreachable, UserError
from maillage.interfaces.sdk.wire import Answer, Call, headers_of, nobody_answers, request_target, trouble_of
from maillage.interfaces.settings import Connection, is_private_line

CONNECT_TIMEOUT_S = 5.0
UPLOAD_BLOCK_BYTES = 1 << 20
_OCTETS = {"Content-Type": "application/octet-stream"}


class AsyncLine:
    """One httpx client. No redirects: a token must not follow one. No proxy for loopback."""

    def __init__(self, connection: Connection) -> None:
        import httpx

        self.url = connection.url
        self._httpx = httpx
        self._client = httpx.AsyncClient(
            base_url=connection.url,
            headers=headers_of(connection.token),
            trust_env=connection.url.startswith("https:") or not is_private_line(connection.url),
        )

    async def once(self, call: Call) -> Answer:
        """One request, tried once. Raises the error class its answer stands for."""
        try:
            response = await self._client.send(self._request(call, call.timeout_s))
        except self._httpx.TransportError as trouble:
            raise self._line_trouble(trouble) from None
        return self._checked(call, response.status_code, response.content)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come, with no limit on the silence between them."""
        try:
            response = await self._client.send(self._request(call, None), stream=True)
            try:
                if response.status_code >= 300:
                    self._checked(call, response.status_code, await response.aread())
                yield response.aiter_bytes()
            finally:
                await response.aclose()
        except self._httpx.TransportError as trouble:
            raise self._line_trouble(trouble) from None

    async def close(self) -> None:
        await self._client.aclose()

    def _checked(self, call: Call, status: int, content: bytes) -> Answer:
        if status < 300:
            return Answer(status, content)
        if status == 404 and call.missing_is_fine:
            return Answer(404, b"")
        raise trouble_of(status, content, self.url + request_target(call))

    def _request(self, call: Call, silence_s: float | None) -> Any:
        body: dict[str, Any] = {}
        if isinstance(call.content, Path):
            headers = {**_OCTETS, "Content-Length": str(call.content.stat().st_size)}
            body = {"content": _blocks(call.content), "headers": headers}
        elif call.content is not None:
            body = {"content": call.content, "headers": _OCTETS}
        elif call.body is not None:
            body = {"json": call.body}
        timeout = self._httpx.Timeout(call.timeout_s, connect=CONNECT_TIMEOUT_S, read=silence_s)
        target = request_target(call)
        return self._client.build_request(call.method, target, params=call.params, timeout=timeout, **body)

    def _line_trouble(self, trouble: Exception) -> UserError:
        cause = str(trouble) or type(trouble).__name__
        if isinstance(trouble, (self._httpx.ConnectError, self._httpx.ConnectTimeout)):
            return nobody_answers(self.url, cause)
        if isinstance(trouble, self._httpx.TimeoutException):
            return Unreachable(f"{self.url} took too long to answer")
        return Unreachable(f"the line to {self.url} broke ({cause})")


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(UPLOAD_BLOCK_BYTES):
            yield block
