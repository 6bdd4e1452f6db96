"""The process of a network on this machine: who leads a data folder, and how it is asked to end."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from pathlib import Path


def leader_pid(folder: Path) -> int | None:
    """The process that holds the folder's lock, None where nobody does.

    The kernel tells, not a pid file: neither a pid that was given anew nor a jump of the clock deceives.
    """
    try:
        descriptor = os.open(folder / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)


def end(pid: int, folder: Path, timeout_s: float) -> bool:
    """SIGTERM to the folder's leader; whether it was gone within `timeout_s`.

    Through a pidfd, taken before the leader is asked for once more: the signal cannot meet a stranger.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if leader_pid(folder) != pid:
            return True
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
        return bool(ready)
    finally:
        os.close(descriptor)
