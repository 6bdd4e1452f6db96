"""How the event loop asks the loop thread: an input goes in, its durable answer comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from maillage.control.loop import LoopThread, Pending
from maillage.control.plane import Plane
from maillage.control.round import Input
from maillage.errors import UserError


class Asking:
    """Owns the loop thread, and carries what it says to the event loop in one call per round."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._aio: asyncio.AbstractEventLoop | None = None
        self._offset = 0
        self._bell = asyncio.Event()
        self._on_failure: Callable[[BaseException], None] = lambda error: None
        self._thread = LoopThread(self._step, plane.loop.until_tick_s, self._failed)
        plane.on_commit = self._committed
        plane.put = self._thread.put

    async def do(self, act: Input) -> Any:
        """The input's result, once it is durable. Raises what it raised, or Unreachable."""
        aio = asyncio.get_running_loop()
        self._aio = self._aio or aio
        future: asyncio.Future[Any] = aio.create_future()
        self._thread.put(Pending(act, partial(self._answer, future)))
        if self._thread.ended:
            self._flush()
        result = await future
        if isinstance(result, UserError):
            raise result
        return result

    async def changes(self) -> AsyncIterator[int]:
        """The newest offset, each time it has grown."""
        seen = self._offset
        while True:
            while self._offset == seen:
                await self._bell.wait()
            seen = self._offset
            yield seen

    def _answer(self, future: asyncio.Future[Any], result: Any) -> None:
        self._plane.outbox.append(lambda: None if future.done() else future.set_result(result))

    def _step(self, inputs: Sequence[Pending]) -> None:
        self._plane.step(inputs)
        self._flush()

    def _flush(self) -> None:
        """Hand the outbox over. Without an event loop yet it waits for the next round."""
        if self._plane.outbox and self._aio is not None and not self._aio.is_closed():
            outbox, self._plane.outbox = self._plane.outbox, []
            self._aio.call_soon_threadsafe(_run, outbox)

    def _failed(self, error: BaseException) -> None:
        self._on_failure(error)
        self._flush()

    def _committed(self, offset: int) -> None:
        self._offset = offset
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()


def _run(outbox: list[Callable[[], None]]) -> None:
    for act in outbox:
        act()
