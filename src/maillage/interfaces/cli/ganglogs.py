"""The output of a gang, all workers at once: whole lines, each with its worker's rank in front."""

from __future__ import annotations

import sys
import threading
from typing import IO, TYPE_CHECKING

from maillage.interfaces.cli.output import note

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_WORKERS = 16  # followed at once, each by a connection of its own
_LOOK_S = 0.2  # a join without end would not hear Ctrl-C
_LONGEST_LINE_BYTES = 64 * 1024


class Lines:
    """A stream for one worker. What it writes goes on to `to` line by line, under a lock."""

    def __init__(self, to: IO[bytes], rank: int, lock: threading.Lock) -> None:
        self._to = to
        self._prefix = f"[{rank}] ".encode()
        self._lock = lock
        self._begun = b""  # a line whose end has not come

    def write(self, data: bytes) -> int:
        *whole, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > _LONGEST_LINE_BYTES:
            whole.append(self._begun)
            self._begun = b""
        if whole:
            with self._lock:
                self._to.write(b"".join(self._prefix + line + b"\n" for line in whole))
                self._to.flush()
        return len(data)

    def flush(self) -> None:
        """Nothing: a line is flushed when it is whole."""

    def end(self) -> None:
        if self._begun:
            self.write(b"\n")


def copy_all(copy: Callable[[int, Lines], object], workers: int, to: IO[bytes] | None) -> None:
    """Run `copy(rank, stream)` for all workers at once, to their end. Raises what one of them met."""
    target, lock = to or sys.stdout.buffer, threading.Lock()
    troubles: list[BaseException] = []
    if workers > MOST_WORKERS:
        note(f"output of workers 0 to {MOST_WORKERS - 1} of {workers}; `job logs --worker N` shows another's")

    def run(rank: int) -> None:
        lines = Lines(target, rank, lock)
        try:
            copy(rank, lines)
            lines.end()
        except BaseException as error:
            troubles.append(error)

    threads = [
        threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(min(workers, MOST_WORKERS))
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not troubles:
        for thread in threads:
            thread.join(_LOOK_S / len(threads))
    if troubles:
        raise troubles[0]
