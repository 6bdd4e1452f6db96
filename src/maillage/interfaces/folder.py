"""The data folder as `up` finds, checks and leaves it: private, writable, with room, and `server.json`."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psutil

from maillage.errors import Conflict, NotAllowed, Problem, Problems
from maillage.interfaces.settings import ServerRecord, read_server
from maillage.network import loader
from maillage.network.model import HostSize, Network

LEAST_FREE_BYTES = 64 * 1024 * 1024
_OURS = frozenset({"maillage.db", "up.lock", "up.log", "server.json", "admin.token", "secrets.key"})


def open_folder(folder: Path) -> None:
    """Make sure of the data folder. Raises NotAllowed, Conflict with what to do about it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError:
        raise Conflict(f"{folder} is no folder: give another with --data, or move it away") from None
    except OSError as error:
        raise NotAllowed(f"{folder} cannot be made ({error.strerror}): give a folder with --data") from None
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise NotAllowed(f"{folder} belongs to another user: give a folder of your own with --data")
    if stat.S_IMODE(found.st_mode) & 0o077:
        _make_private(folder)
    _write_something(folder)
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise Conflict(
            f"only {free // 1024**2} MiB are free where {folder} lies and "
            f"{LEAST_FREE_BYTES // 1024**2} are needed: make room, or give another disk's folder as --data"
        )


def _make_private(folder: Path) -> None:
    """Close an empty folder, or one of ours, to others; a folder with something else in it is not touched."""
    names = {entry.name for entry in folder.iterdir()}
    if names and not names & _OURS:
        raise Conflict(
            f"{folder} can be read by others and holds files that are not maillage's: "
            f"give an empty folder with --data, or `chmod 700 {folder}`"
        )
    folder.chmod(0o700)


def _write_something(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Conflict(f"{folder} cannot be written ({error.strerror}): mend that, or give --data") from None


def write_server(folder: Path, url: str) -> None:
    """Say where this process answers: whole or not at all, for `maillage` and its clients to read."""
    record = {
        "pid": os.getpid(),
        "url": url,
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    handle, part = tempfile.mkstemp(prefix=".server-", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(record, stream)
    Path(part).replace(folder / "server.json")


def forget_server(folder: Path) -> None:
    """Take the record away if it is ours, or of a process that is gone."""
    with contextlib.suppress(FileNotFoundError):
        record = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        if record.get("pid") == os.getpid() or not psutil.pid_exists(int(record.get("pid", 0))):
            (folder / "server.json").unlink(missing_ok=True)


def server_of(folder: Path) -> ServerRecord | None:
    """What a live process wrote there."""
    record = read_server(folder)
    return record if record is not None and psutil.pid_exists(record.pid) else None


def this_machine() -> HostSize:
    """The CPUs that this process may use, and the machine's memory."""
    return HostSize(
        cpus=len(os.sched_getaffinity(0)), memory_gib=round(psutil.virtual_memory().total / 1024**3, 2)
    )


def read_network(path: Path) -> Network:
    """The network that a file describes. Raises Problems with everything that is wrong in it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise Problems([Problem("", f"cannot be read: {error.strerror}", source=str(path))]) from None
    return loader.parse(text, str(path), this_machine())


def who_has(host: str, port: int, folder: Path, error: OSError) -> str:
    """Why a port cannot be had, as far as can be told, and what to do."""
    if error.errno != errno.EADDRINUSE:
        return f"port {port} on {host} cannot be had ({error.strerror}): take another with --port"
    holder = ""
    with contextlib.suppress(psutil.AccessDenied):
        for line in psutil.net_connections("tcp"):
            if line.laddr and line.laddr.port == port and line.status == psutil.CONN_LISTEN and line.pid:
                with contextlib.suppress(psutil.NoSuchProcess):
                    holder = f" by {psutil.Process(line.pid).name()} (pid {line.pid})"
    ours = server_of(folder)
    if ours is not None and ours.url.endswith(f":{port}"):
        return f"this network is up already: {ours.url} (pid {ours.pid}); end it with `maillage down`"
    return f"port {port} on {host} is in use{holder}: take another with --port, or --port 0 for any"
