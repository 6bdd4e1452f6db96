"""A job's output as text, followed while it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from maillage.access.roles import Action
from maillage.errors import NotFound
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.parts import Parts
from maillage.interfaces.api.routers import api_router

router = api_router("jobs")

Reader = Annotated[Caller, needs(Action.JOB_READ)]
_BLOCK = 256 * 1024
_TAIL_MAX_BYTES = 8 * 1024 * 1024
_LOOK_AGAIN_S = (0.05, 0.1, 0.2, 0.4)  # the last one goes on
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/jobs/{job}/logs", operation_id="readLogs", response_class=StreamingResponse, responses=_TEXT)
async def logs(
    job: str,
    caller: Reader,
    attempt: Annotated[int, Query(ge=0, description="0: the newest")] = 0,
    worker: Annotated[int, Query(ge=0)] = 0,
    follow: Annotated[bool, Query(description="Stay until the attempt has ended")] = False,
    tail: Annotated[int | None, Query(ge=0, le=100_000, description="Only the last lines")] = None,
) -> Response:
    """What a worker wrote to stdout and stderr."""
    found = await caller.job(job, Action.JOB_READ)
    _refuse_unknown(found, attempt, worker)
    attempt = attempt or int(found["attempts"])
    reader = _Reader(caller.parts, str(found["id"]), attempt, worker)
    first, final = await reader.next()  # troubles are told before the answer begins
    if tail is not None:
        first, final = await reader.tail(first, final, tail)
    text = reader.follow(first, final) if follow else reader.rest(first)
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(text, media_type="text/plain; charset=utf-8", headers=headers)


def _refuse_unknown(job: dict[str, Any], attempt: int, worker: int) -> None:
    """Raises NotFound for an attempt or a worker that the job does not have."""
    attempts, workers = int(job["attempts"]), int(job["workers"])
    if attempt > attempts:
        has = f"it has had {attempts}" if attempts else "it has not started yet"
        raise NotFound(f"job {job['id']} has no attempt {attempt}; {has}")
    if worker >= workers:
        has = f"it has 0 to {workers - 1}" if workers > 1 else "it has one, worker 0"
        raise NotFound(f"job {job['id']} has no worker {worker}; {has}")


class _Reader:
    """Reads one worker's output of one attempt from its beginning on."""

    def __init__(self, parts: Parts, job_id: str, attempt: int, worker: int) -> None:
        self._parts = parts
        self._where = (job_id, attempt, worker)
        self._offset = 0

    async def next(self) -> tuple[bytes, bool]:
        data, final = await self._parts.service.read_logs(*self._where, self._offset, _BLOCK)
        self._offset += len(data)
        return data, final

    async def tail(self, data: bytes, final: bool, lines: int) -> tuple[bytes, bool]:
        """The last lines of what is there now; a worker's output is bounded, so it is read through."""
        kept = data
        while data:
            data, final = await self.next()
            kept = (kept + data)[-_TAIL_MAX_BYTES:]
        ends = kept.endswith(b"\n")
        last = kept.split(b"\n")
        cut = lines + 1 if ends else lines
        return (b"\n".join(last[-cut:]) if lines else b""), final

    async def rest(self, data: bytes) -> AsyncIterator[bytes]:
        yield data
        while (data := (await self.next())[0]) and not self._parts.live.closing:
            yield data

    async def follow(self, data: bytes, final: bool) -> AsyncIterator[bytes]:
        looked = 0
        yield data
        while not self._parts.live.closing:
            if data:
                looked = 0
            elif final:
                return
            else:
                await asyncio.sleep(_LOOK_AGAIN_S[min(looked, len(_LOOK_AGAIN_S) - 1)])
                looked += 1
            data, final = await self.next()
            if data:
                yield data
