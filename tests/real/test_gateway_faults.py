"""The gateway before engines that misbehave: each answers as a script says, over a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from maillage.control.service import Replica
from maillage.scheduling.replicas import ReplicaDemand
from tests.real.gateway_rig import TOKEN, Here, serving, wait_until

Writer = asyncio.StreamWriter
Script = Callable[[Writer], Coroutine[Any, Any, None]]
ASKED = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}


def event(content: str, predicted: int, finish: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "chat",
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}],
        "timings": {"cache_n": 1, "prompt_n": 2, "predicted_n": predicted},
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()


def head(status: str = "200 OK", kind: str = "text/event-stream") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()


async def good(writer: Writer) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    writer.write(head() + event("a", 1) + event("b", 2, "stop"))
    writer.write(f"data: {json.dumps(usage)}\n\ndata: [DONE]\n\n".encode())


async def loading(writer: Writer) -> None:
    writer.write(
        head("503 Service Unavailable", "application/json") + b'{"error": {"message": "Loading model"}}'
    )


async def closes_at_once(writer: Writer) -> None:
    pass


async def closes_after_the_head(writer: Writer) -> None:
    writer.write(head())


async def breaks_off(writer: Writer) -> None:
    writer.write(head() + event("a", 1) + event("b", 2))


async def fails_midway(writer: Writer) -> None:
    error = {"error": {"code": 500, "message": "out of slots", "type": "server_error"}}
    writer.write(head() + event("a", 1) + f"data: {json.dumps(error)}\n\n".encode())


async def speaks_html(writer: Writer) -> None:
    writer.write(head("500 Internal Server Error", "text/html") + b"<html>broken</html>")


async def speaks_nonsense(writer: Writer) -> None:
    writer.write(head() + b"data: {not json\n\n")


@dataclass
class Engine:
    """One scripted engine in a thread of its own. `asked` counts requests, `cut` those cut off."""

    script: Script | None
    asked: int = 0
    cut: int = 0
    port: int = 0
    stop: Callable[[], Any] = lambda: None

    async def answer(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        lines = await reader.readuntil(b"\r\n\r\n")
        (length,) = (
            int(line.split(b":")[1])
            for line in lines.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        self.asked += 1
        if self.script is not None:
            await self.script(writer)
        else:  # silent: until the other side goes
            self.cut += not await reader.read()
        writer.close()

    def run(self, ready: threading.Event) -> None:
        asyncio.run(self._listen(ready))

    async def _listen(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        self.stop = lambda: loop.call_soon_threadsafe(stopped.set)
        ready.set()
        await stopped.wait()
        server.close()


@pytest.fixture
def engine() -> Iterator[Callable[[Script | None], Engine]]:
    """Starts scripted engines; all are stopped at the end."""
    started: list[tuple[Engine, threading.Thread]] = []

    def start(script: Script | None) -> Engine:
        one, ready = Engine(script), threading.Event()
        thread = threading.Thread(target=one.run, args=(ready,))
        thread.start()
        started.append((one, thread))
        assert ready.wait(10)
        return one

    yield start
    for one, thread in started:
        one.stop()
        thread.join(10)


def before(*engines: Engine) -> Here:
    """A directory of these engines; the earlier gets the first request."""
    found = tuple(
        Replica(f"j{number}.1", f"site-{number}", f"http://127.0.0.1:{one.port}", ready=True)
        for number, one in enumerate(engines)
    )
    return Here({"chat": found})


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0)


@pytest.mark.parametrize("script", [loading, closes_at_once, closes_after_the_head])
@pytest.mark.parametrize("stream", [True, False])
def test_before_the_first_byte_another_replica_is_tried(engine, script: Script, stream: bool) -> None:
    bad, fine = engine(script), engine(good)
    here = before(bad, fine)
    with serving(here) as url:
        answer = httpx.post(
            f"{url}/chat/completions",
            json=ASKED | {"stream": stream},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        assert (answer.status_code, answer.headers["x-maillage-run"]) == (200, "j1.1")
        assert (bad.asked, fine.asked) == (1, 1)
        (used,) = here.last()
        assert (used.status, used.run_id, used.prompt_tokens, used.completion_tokens) == (200, "j1.1", 3, 2)
        client(url).chat.completions.create(**ASKED)
        assert bad.asked == 1, "a replica that failed a moment ago comes last"


def test_a_request_that_ends_replicas_ends_two_at_most(engine) -> None:
    engines = [engine(closes_at_once) for _ in range(4)]
    here = before(*engines)
    with serving(here) as url, pytest.raises(openai.InternalServerError) as lost:
        client(url).chat.completions.create(**ASKED)
    assert (lost.value.status_code, lost.value.code) == (502, "replica_lost")
    assert sum(one.asked for one in engines) == 2
    assert here.last()[0].status == 502


def test_one_replica_alone_is_asked_again(engine) -> None:
    async def second_time_good(writer: Writer) -> None:
        if alone.asked == 2:
            await good(writer)

    alone = engine(second_time_good)
    with serving(before(alone)) as url:
        assert client(url).chat.completions.create(**ASKED).choices[0].message.content == "ab"


@pytest.mark.parametrize("script", [breaks_off, fails_midway])
def test_after_the_first_token_nothing_is_tried_again(engine, script: Script) -> None:
    bad, fine = engine(script), engine(good)
    here = before(bad, fine)
    with serving(here) as url:
        pieces = []
        with pytest.raises(openai.APIError):
            for chunk in client(url).chat.completions.create(**ASKED, stream=True):
                pieces.append(chunk.choices[0].delta.content)
        assert pieces and pieces[0] == "a" and fine.asked == 0
        status = 502 if script is breaks_off else 500
        (used,) = here.last()
        assert (used.status, used.completion_tokens) == (status, len(pieces))
    with serving(here) as url, pytest.raises(openai.InternalServerError) as whole:
        client(url).chat.completions.create(**ASKED)
    assert whole.value.status_code == status and fine.asked == 0


@pytest.mark.parametrize("script", [speaks_html, speaks_nonsense])
def test_an_engine_that_speaks_otherwise_is_told_as_an_error(engine, script: Script) -> None:
    with serving(before(engine(script))) as url, pytest.raises(openai.InternalServerError) as error:
        client(url).chat.completions.create(**ASKED)
    assert error.value.body["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_hang_up_before_the_first_byte_cuts_the_engine_off(engine, stream: bool) -> None:
    silent = engine(None)
    here = before(silent)
    with serving(here) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{url}/chat/completions",
                json=ASKED | {"stream": stream},
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=0.5,
            )
        wait_until(lambda: silent.cut == 1)
        (used,) = here.last()
        assert (used.status, used.completion_tokens) == (499, 0)


def test_a_hang_up_midway_is_charged_what_had_come_and_no_more(engine) -> None:
    async def four_tokens_and_then_none(writer: Writer) -> None:
        writer.write(head() + event("", 0) + b"".join(event("x", number) for number in (1, 2, 4)))
        await asyncio.sleep(30)

    here = before(engine(four_tokens_and_then_none))
    with serving(here) as url:
        with client(url).chat.completions.create(**ASKED, stream=True) as stream:
            next(iter(stream))
        (used,) = here.last()
        assert (used.status, used.prompt_tokens, used.completion_tokens) == (499, 3, 4)


def test_a_full_endpoint_answers_429_and_then_recovers(engine) -> None:
    silent = engine(None)
    here = before(silent)
    with serving(here, in_flight_per_replica=1) as url:

        def ask_and_leave() -> None:
            with pytest.raises(openai.APITimeoutError):
                client(url).with_options(timeout=1).chat.completions.create(**ASKED)

        waiting = threading.Thread(target=ask_and_leave)
        waiting.start()
        wait_until(lambda: silent.asked == 1)
        assert here.gateway.demand("chat") == ReplicaDemand(in_flight=1)
        with pytest.raises(openai.RateLimitError) as full:
            client(url).chat.completions.create(**ASKED)
        assert here.gateway.demand("chat") == ReplicaDemand(in_flight=1, queued=1)
        assert full.value.response.headers["retry-after"] and full.value.code == "rate_limit_exceeded"
        waiting.join(10)
        wait_until(lambda: silent.cut == 1)
        silent.script = good
        assert client(url).chat.completions.create(**ASKED).choices[0].message.content == "ab"


def test_unreachable_replicas_are_503_with_retry_after() -> None:
    here = Here({"chat": (Replica("j0.1", "paris", "http://127.0.0.1:1", ready=True),)})
    with serving(here) as url, pytest.raises(openai.InternalServerError) as error:
        client(url).chat.completions.create(**ASKED)
    assert (error.value.status_code, error.value.code) == (503, "no_replica_ready")
    assert int(error.value.response.headers["retry-after"]) >= 1


def test_not_knowing_a_token_now_is_not_the_same_as_unknown(engine) -> None:
    with (
        serving(before(engine(good))) as url,
        openai.OpenAI(base_url=url, api_key="database-away", max_retries=0) as asker,
        pytest.raises(openai.InternalServerError) as error,
    ):
        asker.models.list()
    assert error.value.status_code == 503
