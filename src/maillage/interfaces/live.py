"""The live picture: one frame of sites, jobs and power, made once for all who look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from maillage.control.service import Service
from maillage.errors import Unreachable

FRAME_EVERY_S = 1.0
HEARTBEAT_S = 10.0
_LISTENERS_MAX = 200
T = TypeVar("T")


class Live:
    """Frames at most once a second, when the log has grown, and a heartbeat when it has not."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: dict[object, tuple[float, Any]] = {}
        self._making = asyncio.Lock()
        self._listeners = 0
        self.closing = False

    async def shared(self, key: object, make: Callable[[], Awaitable[T]]) -> T:
        """What `make` gives, not older than a second and made once for all who ask for the same key."""
        async with self._making:
            now_s = time.monotonic()
            self._kept = {old: kept for old, kept in self._kept.items() if now_s - kept[0] < FRAME_EVERY_S}
            if key not in self._kept:
                self._kept[key] = (now_s, await make())
            made: T = self._kept[key][1]
            return made

    def close(self) -> None:
        """The server stops: every stream ends at its next step, and no site's call is held any more."""
        self.closing = True
        self._service.stop_holding()

    async def frame(self) -> dict[str, Any]:
        """The newest frame, not older than a second."""
        return await self.shared("frame", self._picture)

    async def frames(self) -> AsyncIterator[dict[str, Any]]:
        """A frame now and after every change; an empty one keeps the line alive. Raises Unreachable."""
        if self._listeners >= _LISTENERS_MAX:
            raise Unreachable(f"{_LISTENERS_MAX} streams are open already: close one, or ask /api/v1/status")
        self._listeners += 1
        changes = self._service.subscribe()
        waiting: asyncio.Future[int] | None = None
        try:
            yield await self.frame()
            while not self.closing:
                waiting = waiting or asyncio.ensure_future(anext(changes))
                changed = await self._wait(waiting)
                if self.closing:
                    return
                if changed:
                    waiting = None
                    yield await self.frame()
                    await asyncio.sleep(FRAME_EVERY_S)
                else:
                    yield {}
        finally:
            self._listeners -= 1
            if waiting is not None:
                waiting.cancel()

    async def _wait(self, change: asyncio.Future[int]) -> bool:
        """Whether the log grew before the heartbeat is due; looks every second whether to close."""
        until_s = time.monotonic() + HEARTBEAT_S
        while time.monotonic() < until_s and not self.closing:
            done, _ = await asyncio.wait({change}, timeout=FRAME_EVERY_S)
            if done:
                change.result()
                return True
        return False

    async def _picture(self) -> dict[str, Any]:
        status, sites = await self._service.status(), await self._service.sites()
        return {
            "offset": status.get("log_offset"),
            "jobs": status.get("jobs", {}),
            "sites": sites,
            "facility_kw": sum(site.get("facility_kw") or 0.0 for site in sites),
            "limit_kw": _sum_or_none([site.get("limit_kw") for site in sites]),
        }


def _sum_or_none(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
