"""What is asked of each endpoint, for whoever decides how many replicas it should have."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from maillage.scheduling.replicas import ReplicaDemand

# A client that was turned away comes back after the Retry-After of 2 s; longer would count it twice.
RECENT_S = 2.5
REMEMBERED = 1000  # turned away by one endpoint; more would not change the answer


class Demand:
    """Requests under way, and those turned away a moment ago because no replica could take them.

    Written on the event loop, read from any thread. `clock` gives seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._turned_away_s: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def under_way(self, name: str) -> Iterator[None]:
        with self._lock:
            self._in_flight[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[name] -= 1
                if not self._in_flight[name]:
                    del self._in_flight[name]

    def turned_away(self, name: str) -> None:
        with self._lock:
            self._turned_away_s.setdefault(name, deque(maxlen=REMEMBERED)).append(self._clock())

    def of(self, name: str) -> ReplicaDemand:
        with self._lock:
            times_s = self._turned_away_s.get(name, deque())
            while times_s and self._clock() - times_s[0] > RECENT_S:
                times_s.popleft()
            if not times_s:
                self._turned_away_s.pop(name, None)
            return ReplicaDemand(in_flight=self._in_flight[name], queued=len(times_s))
