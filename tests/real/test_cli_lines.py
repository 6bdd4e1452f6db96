"""Both clients over a real socket whose other end misbehaves: one suite for both lines."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from maillage.errors import NotFound, TooLarge, Unreachable
from maillage.interfaces.sdk import AsyncClient, Client
from maillage.interfaces.sdk.wire import Call, NotSent, get

JOB = {"id": "j1", "name": "train", "state": "pending"}


class Peer:
    """A server whose answers are taken from a script; `seen` is what came in."""

    def __init__(self) -> None:
        self.script: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        answer = self.script.pop(0) if self.script else ok({})
        if answer is not refuse_early:
            length = int(request.headers.get("Content-Length") or 0)
            body = request.rfile.read(length)
        else:
            body = b""
        self.seen.append((request.command, request.path, dict(request.headers), body))
        answer(request)


def ok(body: Any, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        text = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(text)

    return answer


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """The request was taken; its answer is lost."""
    request.close_connection = True


def refuse_early(request: BaseHTTPRequestHandler) -> None:
    """An upload is refused before it is whole."""
    ok({"error": {"code": "TooLarge", "message": "too large", "problems": []}}, 413)(request)
    request.close_connection = True


def close_after(request: BaseHTTPRequestHandler) -> None:
    """A good answer, and then the connection goes stale without a word."""
    ok(JOB)(request)
    request.close_connection = True


def break_off(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"5\r\nhello\r\n")
    request.close_connection = True


@pytest.fixture
def peer() -> Iterator[tuple[Peer, str]]:
    script = Peer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return lambda: script.handle(self)
            raise AttributeError(name)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield script, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Awaited:
    """The awaiting client behind the blocking one's shape, so that one suite tests both."""

    def __init__(self, url: str, **kwargs: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(url, **kwargs)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._loop.run_until_complete(method(*args, **kwargs))

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        context = self._client.stream(call)
        blocks = self._loop.run_until_complete(context.__aenter__())

        def each() -> Iterator[bytes]:
            while (block := self._loop.run_until_complete(anext(blocks, None))) is not None:
                yield block

        try:
            yield each()
        except BaseException as trouble:
            if not self._loop.run_until_complete(context.__aexit__(type(trouble), trouble, None)):
                raise
        else:
            self._loop.run_until_complete(context.__aexit__(None, None, None))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(params=[Client, Awaited], ids=["blocking", "awaiting"])
def client(request: pytest.FixtureRequest, peer: tuple[Peer, str]) -> Iterator[Any]:
    made = request.param(peer[1], token="the-token", patience_s=2.0)
    yield made
    made.close()


def test_a_lost_answer_makes_one_job_not_two(peer: tuple[Peer, str], client: Any) -> None:
    peer[0].script += [hang_up, hang_up, ok(JOB, 201)]
    assert client.run({"name": "train", "command": ["ls"]}).info.id == "j1"
    bodies = [json.loads(body) for _, _, _, body in peer[0].seen]
    assert len(bodies) == 3 and len({body["idempotency_key"] for body in bodies}) == 1


def test_the_token_travels_in_its_header_only(peer: tuple[Peer, str], client: Any) -> None:
    peer[0].script += [ok({"items": [], "next": None})]
    client.jobs(state="live")
    ((_, path, headers, body),) = peer[0].seen
    assert headers["Authorization"] == "Bearer the-token"
    assert path == "/api/v1/jobs?state=live" and "the-token" not in path and b"the-token" not in body


def test_an_order_that_may_not_be_repeated_is_sent_once(peer: tuple[Peer, str], client: Any) -> None:
    peer[0].script += [hang_up, ok(JOB)]
    with pytest.raises(Unreachable):
        client.requeue("j1")
    assert len(peer[0].seen) == 1


def test_a_connection_that_went_stale_is_replaced(peer: tuple[Peer, str], client: Any) -> None:
    peer[0].script += [ok(JOB), close_after, ok(JOB), ok(JOB)]
    for _ in range(3):
        assert client.job("j1").id == "j1"
    assert client.requeue("j1").id == "j1"
    assert len(peer[0].seen) == 4


def test_an_upload_is_whole_and_only_where_missing(
    peer: tuple[Peer, str], client: Any, tmp_path: Path
) -> None:
    archive = tmp_path / "a"
    archive.write_bytes(bytes(range(256)) * 20_000)
    peer[0].script += [ok({}, 404), ok({}, 201), ok({})]
    assert client.upload("sha256:00", archive) is True
    assert client.upload("sha256:00", archive) is False
    (_, path, headers, body) = peer[0].seen[1]
    assert body == archive.read_bytes() and headers["Content-Type"] == "application/octet-stream"
    assert path == "/api/v1/artifacts/sha256%3A00"


def test_an_upload_refused_half_way_says_why(peer: tuple[Peer, str], client: Any, tmp_path: Path) -> None:
    archive = tmp_path / "a"
    archive.write_bytes(b"x" * 300_000)
    peer[0].script += [ok({}, 404), refuse_early]
    with pytest.raises(TooLarge, match="too large"):
        client.upload("sha256:00", archive)


def test_a_stream_that_breaks_is_told(peer: tuple[Peer, str], client: Any) -> None:
    peer[0].script += [break_off]
    got = []
    with pytest.raises(Unreachable, match="broke"), client.stream(get("/jobs/j1/logs")) as blocks:
        got += list(blocks)
    peer[0].script += [ok({"error": {"message": "no job"}}, 404)]
    with pytest.raises(NotFound), client.stream(get("/jobs/j2/logs")):
        pass


def test_what_a_reader_raises_inside_a_stream_is_its_own(peer: tuple[Peer, str], client: Any) -> None:
    peer[0].script += [ok({"much": "text"})]
    with pytest.raises(BrokenPipeError), client.stream(get("/jobs/j1/logs")) as blocks:
        next(blocks)
        raise BrokenPipeError


@pytest.mark.parametrize("kind", [Client, Awaited])
def test_where_nobody_listens_one_learns_how_to_mend_it(kind: Any, peer: tuple[Peer, str]) -> None:
    gone = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = gone.server_port
    gone.server_close()
    client = kind(f"http://127.0.0.1:{port}", token="t", patience_s=0.0)
    with pytest.raises(NotSent, match="maillage up"):
        client.status()
    client.close()
