"""The gateway's side towards the replicas: one shared client, what is under way, who failed just now.

A request may be tried on another replica only until the first bytes of an answer. A replica that could
not be reached costs nothing, so all are tried; one that took the request and was lost may have been
lost because of it, so only one other is tried then, and a bad request cannot end them all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from maillage.serving.answers import DONE, Lines
from maillage.serving.demand import Demand
from maillage.serving.refusals import all_full, from_engine, none_ready, upstream_lost
from maillage.serving.requests import Asked
from maillage.serving.routing import Replica, ready_replicas, route

CONNECT_S = 2.0
SILENCE_S = 300.0  # a queue and a long prompt come before the first byte
# llama.cpp closes an idle connection after 5 s; ours close first, so that none is closed while we write.
KEEP_ALIVE_S = 2.0
SUSPECT_S = 2.0
RETRY_AFTER_S = 2
LOST_AT_MOST = 2  # replicas that one request may have lost
ERROR_BODY_LIMIT_BYTES = 64 * 1024

_LOST = (aiohttp.ClientError, TimeoutError, ConnectionError)


class _NotReady(Exception):
    """The engine says that it cannot serve yet, whatever the directory thinks."""


class EngineError(Exception):
    """The engine reported an error in the midst of its stream; `payload` is its JSON."""

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__(str(payload))
        self.payload = payload


class EngineLost(Exception):
    """The stream broke off, or was no stream, after the answer had begun."""


@dataclass(slots=True)
class EngineStream:
    """A begun answer of one replica."""

    replica: Replica
    _response: aiohttp.ClientResponse
    _first: bytes
    _lines: Lines
    ended: bool = False
    trouble: EngineError | EngineLost | None = None

    async def batches(self) -> AsyncIterator[list[dict[str, Any]]]:
        """The chunks, as many at a time as have come. Raises EngineLost or EngineError at the end."""
        received = self._first
        while received:
            if chunks := self._parse(received):
                yield chunks
            if self.trouble is not None:
                raise self.trouble
            try:
                received = await self._response.content.readany()
            except _LOST as error:
                raise EngineLost(str(error)) from error
        if not self.ended:
            raise EngineLost("the stream ended before [DONE]")

    def unread(self) -> list[dict[str, Any]]:
        """Chunks that have come but were not read: what a client who hung up is charged for as well."""
        try:
            return self._parse(self._response.content.read_nowait())
        except (*_LOST, RuntimeError):
            return []  # the connection is in no state to say more; what was read before holds

    def _parse(self, received: bytes) -> list[dict[str, Any]]:
        """The chunks up to the first trouble, which is kept."""
        chunks: list[dict[str, Any]] = []
        try:
            for data in self._lines.feed(received):
                if data == DONE:
                    self.ended = True
                    continue
                chunk = orjson.loads(data)
                if not isinstance(chunk, dict):
                    continue  # llama.cpp opens a stream over several prompts with `null`
                if "error" in chunk:
                    self.trouble = EngineError(chunk)
                    break
                chunks.append(chunk)
        except ValueError as error:
            self.trouble = EngineLost(f"not a stream of chunks: {error}")
        return chunks

    def close(self) -> None:
        """Give the connection back if the answer is whole; else cut it, which stops the engine's work."""
        if self.ended and self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class Upstream:
    """Opens answers on replicas. Enter it once, inside the event loop that serves."""

    def __init__(self, *, in_flight_limit: int, carbon_g_per_kwh: Callable[[str], float]) -> None:
        self.in_flight: Counter[str] = Counter()  # by run id
        self.demand = Demand()
        self._in_flight_limit = in_flight_limit
        self._carbon_g_per_kwh = carbon_g_per_kwh
        self._suspect_until_s: dict[str, float] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()
        self._session = None

    @asynccontextmanager
    async def answering(self, asked: Asked, replicas: Sequence[Replica]) -> AsyncIterator[EngineStream]:
        """A begun answer from the best replica that gives one. Raises Refusal when none does."""
        lost = 0
        for replica in self._order(asked, replicas):
            self.in_flight[replica.run_id] += 1
            try:
                try:
                    stream = await self._begin(replica, asked)
                except (*_LOST, _NotReady) as error:
                    self._suspect_until_s[replica.run_id] = time.monotonic() + SUSPECT_S
                    lost += not isinstance(error, aiohttp.ClientConnectorError | _NotReady)
                    if lost == LOST_AT_MOST:
                        break
                    continue
                try:
                    yield stream
                finally:
                    stream.close()
                return
            finally:
                self._leave(replica)
        if lost:
            raise upstream_lost(asked.model, begun=False)
        raise none_ready(asked.model, len(replicas), RETRY_AFTER_S)

    def _order(self, asked: Asked, replicas: Sequence[Replica]) -> tuple[Replica, ...]:
        ready = ready_replicas(replicas)
        if not ready:
            raise none_ready(asked.model, len(replicas), RETRY_AFTER_S)
        now_s = time.monotonic()
        self._suspect_until_s = {run: until for run, until in self._suspect_until_s.items() if until > now_s}
        order = route(
            ready,
            self.in_flight,
            limit=self._in_flight_limit,
            suspects=self._suspect_until_s,
            carbon_g_per_kwh=self._carbon_g_per_kwh,
        )
        if not order:
            raise all_full(asked.model, len(ready), self._in_flight_limit)
        # Alone, a replica is asked twice: a kept connection may have been closed just as we wrote.
        return order if len(order) > 1 else order * 2

    async def _begin(self, replica: Replica, asked: Asked) -> EngineStream:
        """Post and wait for the first bytes. Raises Refusal for what the engine refuses."""
        assert self._session is not None, "enter the gateway (async with) before it serves"
        response = await self._session.post(
            f"{replica.address}/v1/{asked.endpoint}",
            data=asked.engine_body,
            headers={"content-type": "application/json"},
            allow_redirects=False,
        )
        begun = False
        try:
            if response.status != 200:
                answer = await response.content.read(ERROR_BODY_LIMIT_BYTES)
                if response.status == 503:
                    raise _NotReady
                raise from_engine(response.status, answer)
            first = await response.content.readany()
            if not first:
                raise aiohttp.ClientPayloadError("an empty answer")
            begun = True
            return EngineStream(replica, response, first, Lines())
        finally:
            if not begun:
                response.close()

    def _leave(self, replica: Replica) -> None:
        self.in_flight[replica.run_id] -= 1
        if self.in_flight[replica.run_id] <= 0:
            del self.in_flight[replica.run_id]
