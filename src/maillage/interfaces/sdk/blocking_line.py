"""The line of the blocking client: the standard library's HTTP.

Every command starts a process, and httpx with what it brings costs 130 ms of CPU before the first byte;
this costs 30. The awaiting client, which lives longer, has httpx.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from maillage.errors import Unreachable, UserError
from maillage.interfaces.sdk.wire import (
    Answer,
    Call,
    headers_of,
    nobody_answers,
    request_target,
    trouble_of,
)
from maillage.interfaces.settings import LOOPBACK_HOSTS, Connection

CONNECT_TIMEOUT_S = 5.0
BLOCK_BYTES = 1 << 16
KEPT_CONNECTIONS = 4
_KEEPALIVE_S = 30


class Line:
    """Connections to one address, kept open between calls; any thread may call."""

    def __init__(self, connection: Connection) -> None:
        self.url = connection.url
        self._headers = headers_of(connection.token)
        self._parts = urlsplit(connection.url)
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def once(self, call: Call) -> Answer:
        """One request, tried once. Raises the error class its answer stands for."""
        connection, response = self._begin(call, call.timeout_s)
        try:
            with self._line_troubles():
                content = response.read()
            self._keep(connection, response)
        finally:
            response.close()
        return self._checked(call, response.status, content)

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        """The answer's bytes as they come, with no limit on the silence between them."""
        connection, response = self._begin(call, None)
        try:
            if response.status >= 300:
                self._checked(call, response.status, response.read())
            yield self._blocks(response)
        finally:
            response.close()
            connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _checked(self, call: Call, status: int, content: bytes) -> Answer:
        if status < 300:
            return Answer(status, content)
        if status == 404 and call.missing_is_fine:
            return Answer(404, b"")
        raise trouble_of(status, content, self.url + request_target(call))

    def _begin(
        self, call: Call, silence_s: float | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a call; its response, whose body is still to come."""
        connection = self._taken(call)
        if connection.sock is None:
            self._open(connection)
        try:
            with self._line_troubles():
                connection.sock.settimeout(silence_s)
                return connection, self._answer(connection, call)
        except UserError:
            connection.close()
            raise

    def _blocks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            with self._line_troubles():
                block = response.read1(BLOCK_BYTES)
            if not block:
                return
            yield block

    def _answer(self, connection: http.client.HTTPConnection, call: Call) -> http.client.HTTPResponse:
        target = request_target(call) + (f"?{urlencode(call.params)}" if call.params else "")
        headers = dict(self._headers)
        body: Any = None
        if call.content is not None:
            headers["Content-Type"] = "application/octet-stream"
            headers["Content-Length"] = str(_length(call.content))
            body = call.content.open("rb") if isinstance(call.content, Path) else call.content
        elif call.body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(call.body).encode()
        try:
            connection.request(call.method, target, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            if call.content is None:  # an upload may be refused before it is whole: the answer says why
                raise
        finally:
            if hasattr(body, "close"):
                body.close()
        return connection.getresponse()

    def _taken(self, call: Call) -> http.client.HTTPConnection:
        """An open connection for a call that may be repeated (it may have gone stale), else a new one."""
        with self._lock:
            if call.repeatable and self._idle:
                return self._idle.pop()
        return self._new()

    def _new(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S, blocksize=1 << 20)
        import ssl

        made = http.client.HTTPSConnection(
            host, port, timeout=CONNECT_TIMEOUT_S, blocksize=1 << 20, context=ssl.create_default_context()
        )
        if proxy := _proxy(host, os.environ):
            made = http.client.HTTPSConnection(
                proxy[0], proxy[1], timeout=CONNECT_TIMEOUT_S, context=ssl.create_default_context()
            )
            made.set_tunnel(host, port or 443)
        return made

    def _open(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.connect()
        except OSError as trouble:
            raise nobody_answers(self.url, _cause(trouble)) from None
        # a peer that vanished while we only listen is noticed by the kernel's probes
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)

    def _keep(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        """Keep a connection whose answer was read to its end for the next call."""
        with self._lock:
            if not response.will_close and len(self._idle) < KEPT_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def _line_troubles(self) -> Iterator[None]:
        """Troubles of the line as errors for people."""
        try:
            yield
        except TimeoutError:
            raise Unreachable(f"{self.url} took too long to answer") from None
        except (OSError, http.client.HTTPException) as trouble:
            raise Unreachable(f"the line to {self.url} broke ({_cause(trouble)})") from None


def _length(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _cause(trouble: Exception) -> str:
    return getattr(trouble, "strerror", None) or str(trouble) or type(trouble).__name__


def _proxy(host: str, environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Host and port of the proxy that HTTPS_PROXY names, unless NO_PROXY or loopback speaks against it."""
    named = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    exempt = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").replace(" ", "").split(",")
    if not named or host in LOOPBACK_HOSTS or "*" in exempt:
        return None
    if any(host == name.lstrip(".") or host.endswith("." + name.lstrip(".")) for name in exempt if name):
        return None
    parts = urlsplit(named if "://" in named else f"http://{named}")
    return (parts.hostname, parts.port or 3128) if parts.hostname else None
