"""`Client`: the operations of the API, blocking."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from maillage.errors import UserError
from maillage.interfaces import settings
from maillage.interfaces.sdk.blocking_line import Line
from maillage.interfaces.sdk.handles import JobHandle
from maillage.interfaces.sdk.operations import Blocking, Operations
from maillage.interfaces.sdk.submission import Work, as_work
from maillage.interfaces.sdk.wire import Answer, Call, Pause, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")


class Client(Operations, Blocking):
    """The network, blocking.

    Without arguments it finds the network as the commands do: `MAILLAGE_URL` and
    `MAILLAGE_TOKEN`, `MAILLAGE_DATA`, the login, or the network up on this machine.

    >>> with Client() as network:  # doctest: +SKIP
    ...     job = network.run({"name": "hello", "command": ["echo", "hello"]})
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
        self._line = Line(self.connection)

    def run(self, work: Work, *, key: str | None = None) -> JobHandle:
        """Submit one job: a spec, a dict, or a file's path. Its work folder travels along."""
        return JobHandle(self, self.drive(as_work(work).submit(self, key)))

    def handle(self, job: str) -> JobHandle:
        """A job that was submitted before, by its id or unique name."""
        return JobHandle(self, self.job(job))

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
                reply = self._line.once(step)
            except UserError as raised:
                trouble = raised

    def stream(self, call: Call) -> AbstractContextManager[Iterator[bytes]]:
        """The answer's bytes as they come, for as long as they come."""
        return self._line.stream(call)

    def close(self) -> None:
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
