"""One leader per data folder: a lock that the kernel lets go of when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from maillage.errors import Conflict


class Leader:
    """Holds `up.lock` of a data folder. The file's text is the holder's pid, for people only."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "up.lock"
        self._fd = -1

    def take(self) -> None:
        """Raises Conflict naming the process that holds the folder."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise Conflict(
                f"another `maillage up` (pid {pid}) holds the data folder {self._path.parent}; "
                "end it with `maillage down`, or give this one another folder with --data"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
