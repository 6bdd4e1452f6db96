"""`AsyncClient`: the operations of `Client` as coroutines. Apart, so that commands load no event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from maillage.errors import UserError
from maillage.interfaces import settings
from maillage.interfaces.sdk.awaiting_line import AsyncLine
from maillage.interfaces.sdk.handles import AsyncJobHandle
from maillage.interfaces.sdk.operations import Awaiting, Operations
from maillage.interfaces.sdk.submission import Work, as_work
from maillage.interfaces.sdk.wire import Answer, Call, Pause, Plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")


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
        self._line = AsyncLine(self.connection)

    async def run(self, work: Work, *, key: str | None = None) -> AsyncJobHandle:
        """Submit one job: a spec, a dict, or a file's path. Its work folder travels along."""
        return AsyncJobHandle(self, await self.drive(as_work(work).submit(self, key)))

    async def handle(self, job: str) -> AsyncJobHandle:
        """A job that was submitted before, by its id or unique name."""
        return AsyncJobHandle(self, await self.job(job))

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
                reply = await self._line.once(step)
            except UserError as raised:
                trouble = raised

    def stream(self, call: Call) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The answer's bytes as they come, for as long as they come."""
        return self._line.stream(call)

    async def close(self) -> None:
        await self._line.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
