"""The line itself: httpx, for the blocking and the awaiting client. Imported only when one is made."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maillage import errors
from maillage.errors import UserError
from maillage.interfaces.sdk.wire import Answer, Call, NotSent, request_target, trouble_of
from maillage.interfaces.settings import Connection, is_private_line

if TYPE_CHECKING:
    from httpx import Request, Response

CONNECT_TIMEOUT_S = 5.0
UPLOAD_BLOCK_BYTES = 1 << 20


def load_httpx() -> Any:
    """httpx without its own command line, which would load a highlighter and cost 150 ms of CPU a command."""
    if "httpx" not in sys.modules and "httpx._main" not in sys.modules:
        sys.modules["httpx._main"] = None  # type: ignore[assignment]  # it copes: its CLI is optional
        try:
            importlib.import_module("httpx")
        finally:
            del sys.modules["httpx._main"]
    return importlib.import_module("httpx")


def options(connection: Connection) -> dict[str, Any]:
    """How either client is made: no redirects (a token must not follow one), no proxy for loopback."""
    headers = {"Accept": "application/json", "User-Agent": "maillage"}
    if connection.token:
        headers["Authorization"] = f"Bearer {connection.token}"
    encrypted = connection.url.startswith("https:")
    return {
        "base_url": connection.url,
        "headers": headers,
        "verify": encrypted,  # without TLS the certificate bundle need not be read
        "trust_env": encrypted or not is_private_line(connection.url),
    }


def request(client: Any, call: Call, *, follow: bool = False) -> Request:
    """The request for a call. `follow`: its answer may take for ever between two bytes."""
    httpx = load_httpx()
    read_s = None if follow else call.timeout_s
    body: dict[str, Any] = {}
    if call.content is not None:
        body = {"content": _content(client, call.content), "headers": _content_headers(call.content)}
    elif call.body is not None:
        body = {"json": call.body}
    built: Request = client.build_request(
        call.method,
        request_target(call),
        params=call.params,
        timeout=httpx.Timeout(call.timeout_s, connect=CONNECT_TIMEOUT_S, read=read_s),
        **body,
    )
    return built


def answer_of(response: Response, call: Call) -> Answer:
    """The answer, already read. Raises the error class that it stands for."""
    if response.status_code == 404 and call.missing_is_fine:
        return Answer(404, b"")
    if response.status_code >= 300:
        raise trouble_of(response.status_code, response.content, str(response.url.copy_with(query=None)))
    return Answer(response.status_code, response.content)


def line_trouble(trouble: Exception, url: str) -> UserError:
    """A broken line as an error for people."""
    httpx = load_httpx()
    if isinstance(trouble, (httpx.ConnectError, httpx.ConnectTimeout)):
        return NotSent(
            f"no network answers at {url} ({_cause(trouble)})\n"
            "Is it up? `maillage status` tells; `maillage up` starts one on this machine."
        )
    if isinstance(trouble, httpx.TimeoutException):
        return errors.Unreachable(f"{url} took too long to answer")
    return errors.Unreachable(f"the line to {url} broke ({_cause(trouble)})")


def _cause(trouble: Exception) -> str:
    return str(trouble).removeprefix("[Errno 111] ") or type(trouble).__name__


def _content_headers(content: bytes | Path) -> dict[str, str]:
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    return {"Content-Type": "application/octet-stream", "Content-Length": str(size)}


def _content(client: Any, content: bytes | Path) -> Any:
    if isinstance(content, bytes):
        return content
    return _blocks(content) if isinstance(client, load_httpx().AsyncClient) else content.open("rb")


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(UPLOAD_BLOCK_BYTES):
            yield block
