"""A submitted job in your hands: wait for it, read its output, cancel it, ask why it waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, TypeVar

from maillage.interfaces.sdk.operations import Awaiting, Blocking, Operations, operation
from maillage.interfaces.sdk.results import JobInfo, Receipt, Why
from maillage.interfaces.sdk.wire import Call, Plan, get, segment

if TYPE_CHECKING:
    from maillage.interfaces.sdk.async_client import AsyncClient
    from maillage.interfaces.sdk.client import Client

T = TypeVar("T")


def logs_call(
    job: str,
    *,
    attempt: int | None = None,
    worker: int | None = None,
    follow: bool = False,
    tail: int | None = None,
) -> Call:
    """Text of a job's workers; with `follow` until the job has ended."""
    return get(
        f"/jobs/{segment(job)}/logs",
        attempt=attempt,
        worker=worker,
        follow=True if follow else None,
        tail=tail,
    )


class _JobOperations:
    """What both handles have. `info` is what was last heard; `refresh` and `wait` renew it."""

    info: JobInfo
    _operations: Operations

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def state(self) -> str:
        return self.info.state

    @property
    def succeeded(self) -> bool:
        return self.info.succeeded

    @property
    def receipt(self) -> Receipt | None:
        """What it cost; there once the job has ended and `wait` or `refresh` has heard of it."""
        return self.info.receipt

    @operation
    def refresh(self) -> Plan[JobInfo]:
        self.info = yield from Operations.job.plan(self._operations, self.id)
        return self.info

    @operation
    def wait(self, timeout_s: float | None = None) -> Plan[JobInfo]:
        """Until it has ended. Raises TimedOut after `timeout_s`; the job itself goes on."""
        self.info = yield from Operations.wait.plan(self._operations, self.id, timeout_s)
        return self.info

    @operation
    def cancel(self) -> Plan[JobInfo]:
        self.info = yield from Operations.cancel.plan(self._operations, self.id)
        return self.info

    @operation
    def why(self) -> Plan[Why]:
        return (yield from Operations.why.plan(self._operations, self.id))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.info.id} {self.info.name!r} {self.info.state}>"


class JobHandle(_JobOperations, Blocking):
    def __init__(self, client: Client, info: JobInfo) -> None:
        self.info = info
        self._client = self._operations = client

    def drive(self, plan: Plan[T]) -> T:
        return self._client.drive(plan)

    def logs(
        self, follow: bool = False, *, attempt: int | None = None, worker: int | None = None
    ) -> Iterator[str]:
        """Its output, line by line; with `follow` until it has ended."""
        with self._client.stream(logs_call(self.id, attempt=attempt, worker=worker, follow=follow)) as blocks:
            rest = b""
            for block in blocks:
                *lines, rest = (rest + block).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in lines)
            if rest:
                yield rest.decode("utf-8", "replace")


class AsyncJobHandle(_JobOperations, Awaiting):
    def __init__(self, client: AsyncClient, info: JobInfo) -> None:
        self.info = info
        self._client = self._operations = client

    async def drive(self, plan: Plan[T]) -> T:
        return await self._client.drive(plan)

    async def logs(
        self, follow: bool = False, *, attempt: int | None = None, worker: int | None = None
    ) -> AsyncIterator[str]:
        """Its output, line by line; with `follow` until it has ended."""
        async with self._client.stream(
            logs_call(self.id, attempt=attempt, worker=worker, follow=follow)
        ) as blocks:
            rest = b""
            async for block in blocks:
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", "replace")
            if rest:
                yield rest.decode("utf-8", "replace")
