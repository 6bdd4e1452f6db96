"""One request's way through the gateway, as an ASGI response: begun, relayed or folded, and metered once.

The client is watched while the replica works: when it hangs up, the connection to the replica is cut,
which stops the engine, and the tokens made so far are recorded.
"""

from __future__ import annotations

import asyncio

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from maillage.serving.answers import StreamedAnswer, WholeAnswer
from maillage.serving.metering import HUNG_UP, Meter, Tally
from maillage.serving.refusals import (
    NO_REPLICA_READY,
    RATE_LIMIT_EXCEEDED,
    Refusal,
    from_engine,
    upstream_lost,
)
from maillage.serving.requests import Asked
from maillage.serving.routing import Replica
from maillage.serving.upstream import EngineError, EngineLost, EngineStream, Upstream


class Exchange(Response):
    """Answers `asked` from one of `replicas`; `meter` gets its usage once, whatever happens."""

    def __init__(
        self, upstream: Upstream, asked: Asked, replicas: tuple[Replica, ...], tally: Tally, meter: Meter
    ) -> None:
        super().__init__()
        self._upstream = upstream
        self._asked = asked
        self._replicas = replicas
        self._tally = tally
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        answer = asyncio.create_task(self._metered(sending))
        gone = asyncio.create_task(_client_gone(receive))
        gone.add_done_callback(lambda _: answer.cancel())
        try:
            await answer
        except asyncio.CancelledError:
            if not gone.done():  # not the client but the server ends us
                raise
            if not started:  # nobody reads it, but access logs and metrics see what happened
                await Response(status_code=HUNG_UP)(scope, receive, send)
        finally:
            gone.cancel()

    async def _metered(self, send: Send) -> None:
        tally, demand = self._tally, self._upstream.demand
        try:
            with demand.under_way(tally.model):
                await self._answer(send)
        except Refusal as refusal:
            if refusal.code in (NO_REPLICA_READY, RATE_LIMIT_EXCEEDED):
                demand.turned_away(tally.model)
            tally.status = refusal.http_status
            await _send_whole(send, tally.status, refusal.headers() | tally.headers(), refusal.body())
        finally:
            self._meter.record(tally.usage())

    async def _answer(self, send: Send) -> None:
        tally = self._tally
        async with self._upstream.answering(self._asked, self._replicas) as stream:
            tally.site, tally.run_id = stream.replica.site, stream.replica.run_id
            try:
                if self._asked.streamed:
                    await self._relay(stream, send)
                else:
                    await self._fold(stream, send)
            except asyncio.CancelledError:
                for chunk in stream.unread():
                    tally.feed(chunk)
                raise

    async def _relay(self, stream: EngineStream, send: Send) -> None:
        """Chunk by chunk to the client. After the first byte trouble is told inside the stream."""
        asked, tally = self._asked, self._tally
        answer = StreamedAnswer(tally.count, with_usage=asked.with_usage, with_timings=asked.with_timings)
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
        }
        await _start(send, 200, headers | tally.headers())
        try:
            async for chunks in stream.batches():
                events = b""
                for chunk in chunks:
                    tally.feed(chunk)
                    events += answer.feed(chunk)
                if events:
                    await send({"type": "http.response.body", "body": events, "more_body": True})
            tally.status, last = 200, answer.end()
        except (EngineLost, EngineError) as error:
            refusal = _refusal(error, asked.model)
            tally.status, last = refusal.http_status, b"data: " + refusal.body() + b"\n\n"
        await send({"type": "http.response.body", "body": last})

    async def _fold(self, stream: EngineStream, send: Send) -> None:
        tally = self._tally
        answer = WholeAnswer(tally.count, with_timings=self._asked.with_timings)
        try:
            async for chunks in stream.batches():
                for chunk in chunks:
                    tally.feed(chunk)
                    answer.feed(chunk)
        except (EngineLost, EngineError) as error:
            raise _refusal(error, self._asked.model) from error
        tally.status = 200
        await _send_whole(send, 200, {"content-type": "application/json"} | tally.headers(), answer.body())


def _refusal(error: EngineLost | EngineError, model: str) -> Refusal:
    if isinstance(error, EngineError):
        code = error.payload["error"].get("code") if isinstance(error.payload["error"], dict) else None
        return from_engine(code if isinstance(code, int) else 500, orjson.dumps(error.payload))
    return upstream_lost(model, begun=True)


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _send_whole(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    await _start(send, status, headers | {"content-length": str(len(body))})
    await send({"type": "http.response.body", "body": body})
