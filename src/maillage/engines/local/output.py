"""A worker's output on disk: segments named by their first byte, the oldest dropped, so it is bounded."""

from __future__ import annotations

import os
from pathlib import Path

SEGMENT_BYTES = 8 * 1024 * 1024
SEGMENTS_KEPT = 8


class Capture:
    """Writes one worker's output. Raises OSError when the disk does not take it."""

    def __init__(
        self, folder: Path, worker: int, segment_bytes: int = SEGMENT_BYTES, kept: int = SEGMENTS_KEPT
    ) -> None:
        self._folder = str(folder)
        self.worker = worker
        self._segment_bytes = segment_bytes
        self._kept = kept
        self._segments: list[int] = []
        self._descriptor = -1
        self.total_bytes = 0
        self._open_next()

    def _open_next(self) -> None:
        path = segment_path(self._folder, self.worker, self.total_bytes)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._segments.append(self.total_bytes)
        while len(self._segments) > self._kept:
            os.unlink(segment_path(self._folder, self.worker, self._segments.pop(0)))  # noqa: PTH108

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            room = self._segments[-1] + self._segment_bytes - self.total_bytes
            if room <= 0:
                self._open_next()
                continue
            written = os.write(self._descriptor, view[:room])
            self.total_bytes += written
            view = view[written:]

    def close(self) -> None:
        os.close(self._descriptor)


def segment_path(folder: str, worker: int, start: int) -> str:
    return f"{folder}/{worker}.{start:016d}.log"


def read(folder: Path, worker: int, offset: int, limit: int) -> tuple[int, bytes]:
    """(first byte's offset, at most `limit` bytes) from byte `offset` on.

    The first byte is later than asked where older segments were dropped.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except FileNotFoundError:
        return offset, b""
    prefix = f"{worker}."
    starts = sorted(int(name.split(".")[1]) for name in names if name.startswith(prefix))
    for index, start in enumerate(starts):
        if index + 1 < len(starts) and starts[index + 1] <= offset:
            continue
        begin = max(offset, start)
        try:
            with open(segment_path(str(folder), worker, start), "rb") as file:  # noqa: PTH123
                file.seek(begin - start)
                data = file.read(limit)
        except FileNotFoundError:  # dropped this moment: the next one is the oldest
            continue
        return begin, data
    return offset, b""
