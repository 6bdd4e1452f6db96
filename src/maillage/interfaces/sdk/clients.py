"""`Client` and `AsyncClient`: the same operations, blocking and awaiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self, TypeVar

from maillage.errors import UserError
from maillage.interfaces import settings
from maillage.interfaces.sdk.handles import AsyncJobHandle, JobHandle
from maillage.interfaces.sdk.line import answer_of, line_trouble, load_httpx, options, request
from maillage.interfaces.sdk.operations import Awaiting, Blocking, Operations
from maillage.interfaces.sdk.submission import Work, as_work
from maillage.interfaces.sdk.wire import Answer, Call, Pause, Plan

T = TypeVar("T")


class Client(Operations, Blocking):
    """The network, blocking.

    Without arguments it finds the network as the commands do: `MAILLAGE_URL` and
    `MAILLAGE_TOKEN`, `MAILLAGE_DATA`, the login, or the network up on this machine.

    >>> with Client() as network:  # doctest: +SKIP
    ...     job = network.run({"command": ["echo", "hello"]})
    ...     job.wait().state
    'succeeded'
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        data: str | Path | None = None,
        patience_s: float = 10.0,
    ) -> None:
        self.connection = settings.find(url, data, token)
        self.patience_s = patience_s
        self._http = load_httpx().Client(**options(self.connection))

    def run(self, work: Work, *, key: str | None = None) -> JobHandle:
        """Submit one job: a spec, a dict, or a file's path. Its work folder travels along."""
        return JobHandle(self, self.drive(as_work(work).submit(self, key)))

    def drive(self, plan: Plan[T]) -> T:
        reply: Answer | None = None
        trouble: UserError | None = None
        while True:
            try:
                step = plan.throw(trouble) if trouble else plan.send(reply)  # type: ignore[arg-type]
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            reply = trouble = None
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                continue
            try:
                reply = self.once(step)
            except UserError as raised:
                trouble = raised

    def once(self, call: Call) -> Answer:
        """One request, tried once."""
        try:
            return answer_of(self._http.send(request(self._http, call)), call)
        except load_httpx().TransportError as trouble:
            raise line_trouble(trouble, self.connection.url) from None

    @contextmanager
    def stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        """The answer's bytes as they come, for as long as they come."""
        try:
            response = self._http.send(request(self._http, call, follow=True), stream=True)
            try:
                if response.status_code >= 300:
                    response.read()
                    answer_of(response, call)
                yield response.iter_bytes()
            finally:
                response.close()
        except load_httpx().TransportError as trouble:
            raise line_trouble(trouble, self.connection.url) from None

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Operations, Awaiting):
    """The network, awaiting: every operation of `Client` is a coroutine here."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        data: str | Path | None = None,
        patience_s: float = 10.0,
    ) -> None:
        self.connection = settings.find(url, data, token)
        self.patience_s = patience_s
        self._http = load_httpx().AsyncClient(**options(self.connection))

    async def run(self, work: Work, *, key: str | None = None) -> AsyncJobHandle:
        """Submit one job: a spec, a dict, or a file's path. Its work folder travels along."""
        return AsyncJobHandle(self, await self.drive(as_work(work).submit(self, key)))

    async def drive(self, plan: Plan[T]) -> T:
        reply: Answer | None = None
        trouble: UserError | None = None
        while True:
            try:
                step = plan.throw(trouble) if trouble else plan.send(reply)  # type: ignore[arg-type]
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            reply = trouble = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            try:
                reply = await self.once(step)
            except UserError as raised:
                trouble = raised

    async def once(self, call: Call) -> Answer:
        """One request, tried once."""
        try:
            return answer_of(await self._http.send(request(self._http, call)), call)
        except load_httpx().TransportError as trouble:
            raise line_trouble(trouble, self.connection.url) from None

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come, for as long as they come."""
        try:
            response = await self._http.send(request(self._http, call, follow=True), stream=True)
            try:
                if response.status_code >= 300:
                    await response.aread()
                    answer_of(response, call)
                yield response.aiter_bytes()
            finally:
                await response.aclose()
        except load_httpx().TransportError as trouble:
            raise line_trouble(trouble, self.connection.url) from None

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
