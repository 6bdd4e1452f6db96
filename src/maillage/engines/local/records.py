"""What a run leaves on disk, so that everybody can be killed at any moment and the run is found again.

Of a run's folder:
  state/run.json    the start record, written by the engine before anything is forked
  state/lock        held (flock) by the run's one supervisor for life; names its pid and start time
                    from before the first worker is made
  state/alive.json  written when all workers run
  state/stop.json   the wish to stop it, written before the supervisor is woken
  state/exit.json   the end, atomic and durable; its space is reserved at the start, for a full disk
  logs/             the workers' output
  work/ checkpoint/ output/ home/ tmp/   the job's own
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXIT_BYTES = 4096
_JOB_FOLDERS = ("work", "checkpoint", "output", "home", "tmp")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run's folder."""

    path: Path

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def service_file(self) -> Path:
        return self.path / "service.json"

    def begin(self) -> None:
        """What the engine needs of it, readable by the owner alone; the supervisor makes the rest."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def make(self) -> None:
        """All folders."""
        self.begin()
        for name in ("logs", *_JOB_FOLDERS):
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path / name, 0o700)  # noqa: PTH102 - this path is hot

    def read(self, name: str) -> dict[str, Any] | None:
        """A record, None where there is none (or the machine died in the middle of it)."""
        try:
            data = (self.state / f"{name}.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            record = json.loads(data)
        except ValueError:
            return None
        return record if isinstance(record, dict) else None

    def write(self, name: str, record: dict[str, Any]) -> None:
        """A record, whole or not at all; survives the death of every process."""
        temporary = f"{self.state}/{name}.{os.getpid()}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, json.dumps(record).encode())
        finally:
            os.close(descriptor)
        os.rename(temporary, f"{self.state}/{name}.json")  # noqa: PTH104

    def reserve_exit(self, workers: int) -> None:
        """Keep room for the exit record while there is room."""
        descriptor = os.open(f"{self.state}/exit.tmp", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            with contextlib.suppress(OSError):  # a file system without fallocate: then without
                os.posix_fallocate(descriptor, 0, EXIT_BYTES + 8 * workers)
        finally:
            os.close(descriptor)

    def write_exit(self, record: dict[str, Any]) -> None:
        """The end, durable before it shows. Should the machine die before the new name is on disk, the
        run counts as lost with it, which is the safe side."""
        data = json.dumps(record).encode()
        descriptor = os.open(f"{self.state}/exit.tmp", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, data, 0)
            os.ftruncate(descriptor, len(data))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(f"{self.state}/exit.tmp", f"{self.state}/exit.json")  # noqa: PTH104


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that can be told from a later one with the same pid."""

    pid: int
    start_ticks: int
    boot: str


def take_lock(folder: RunFolder) -> int | None:
    """Become the run's one supervisor: the lock's descriptor, or None if another is or was it."""
    descriptor = os.open(folder.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if os.fstat(descriptor).st_size:  # one was here and died: what it started may live, never start again
        os.close(descriptor)
        return None
    return descriptor


def sign_lock(descriptor: int, identity: Identity) -> None:
    """Say who holds the lock; from here on the run counts as launched."""
    os.pwrite(descriptor, f"{identity.pid} {identity.start_ticks} {identity.boot}\n".encode(), 0)


def lock_holder(folder: RunFolder) -> Identity | None:
    """The supervisor that launched the run, alive or dead; None if none ever did."""
    try:
        words = (folder.state / "lock").read_text().split()
    except FileNotFoundError:
        return None
    return Identity(int(words[0]), int(words[1]), words[2]) if len(words) == 3 else None


def lock_is_held(folder: RunFolder) -> bool:
    try:
        descriptor = os.open(folder.state / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
