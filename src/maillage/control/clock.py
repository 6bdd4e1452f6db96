"""The network's time: Unix milliseconds that never go back, and a monotonic clock beside.

Waiting and time-outs use `mono_s`, which no one can set. Instants that people read use `now_ms`,
which follows the machine's wall clock: forward at once; when the wall is set back, time goes on
at half its pace until the wall has caught up, so that no two entries of the log stand in the wrong order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

JUMP_MS = 1000  # a difference below this is the ordinary discipline of a clock (NTP slews 0.5 ms/s)


class Clock(Protocol):
    def now_ms(self) -> int:
        """Unix milliseconds; never less than an earlier answer."""

    def mono_s(self) -> float:
        """Seconds since some fixed moment; steady whatever is done to the wall clock."""

    def take_jump_ms(self) -> int:
        """By how much the wall clock was set since the last time this was asked (0: it was not)."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class WallClock:
    """The machine's clock. `wall_ms` and `mono_s` are handed in by tests that set them."""

    def __init__(
        self, wall_ms: Callable[[], int] = _wall_ms, mono_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall_ms = wall_ms
        self._mono_s = mono_s
        self._read_mono_ms = int(mono_s() * 1000)
        self._wall_offset_ms = wall_ms() - self._read_mono_ms  # as last read
        self._offset_ms = self._wall_offset_ms  # as in force
        self._told_ms = 0
        self._jump_ms = 0

    def now_ms(self) -> int:
        mono_ms = int(self._mono_s() * 1000)
        wall_offset_ms = self._wall_ms() - mono_ms
        if abs(wall_offset_ms - self._wall_offset_ms) >= JUMP_MS:
            self._jump_ms += wall_offset_ms - self._wall_offset_ms
        half_pace_ms = self._offset_ms - (mono_ms - self._read_mono_ms) // 2
        self._offset_ms = max(wall_offset_ms, half_pace_ms)
        self._wall_offset_ms = wall_offset_ms
        self._read_mono_ms = mono_ms
        self._told_ms = max(self._told_ms, mono_ms + self._offset_ms)
        return self._told_ms

    def mono_s(self) -> float:
        return self._mono_s()

    def take_jump_ms(self) -> int:
        jump_ms, self._jump_ms = self._jump_ms, 0
        return jump_ms


class SimulatedClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = start_ms
        self._mono_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def mono_s(self) -> float:
        return self._mono_ms / 1000

    def take_jump_ms(self) -> int:
        return 0

    def advance(self, duration_s: float) -> None:
        """`duration_s` >= 0."""
        step_ms = round(duration_s * 1000)
        self._now_ms += step_ms
        self._mono_ms += step_ms
