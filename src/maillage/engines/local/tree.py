"""Process trees that cannot be escaped: a subreaper inherits every orphan, pidfds name each one.

A process that forks, calls setsid and forks again leaves its process group and its parent, but it
stays a descendant of its supervisor, which is a child subreaper: orphans come back to it. So the
tree is dead when, and only when, the supervisor has no children left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable
from functools import cache

from maillage.engines.local.records import Identity

# prctl(2) options, from linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)
_PROC_HAS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # noqa: PTH110


def _prctl(option: int, value: int | bytes) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """SIGKILL when the parent dies; at once if it already did."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(137)


def gain_no_privileges() -> None:
    """No set-user-id program can raise this process or its children."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def name_process(name: str) -> None:
    _prctl(_PR_SET_NAME, name.encode()[:15] + b"\0")


@cache
def boot_id() -> str:
    """A word that changes with every boot of the machine: pids of another boot mean nothing."""
    with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123
        return file.read().strip()


def _stat(pid: int) -> tuple[str, int, int] | None:
    """(state, parent, start in ticks since boot) of a process; None if there is none. proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            words = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return words[0].decode(), int(words[1]), int(words[19])


def identify(pid: int) -> Identity | None:
    found = _stat(pid)
    return Identity(pid, found[2], boot_id()) if found else None


def is_alive(identity: Identity) -> bool:
    """Whether this very process still runs; a zombie does not."""
    if identity.boot != boot_id():
        return False
    found = _stat(identity.pid)
    return found is not None and found[2] == identity.start_ticks and found[0] not in "ZX"


def send(identity: Identity, number: int) -> bool:
    """Signal this very process, never one that took its pid; False if it is gone."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _children(pid: int) -> list[int]:
    """Children of all threads of a process, from proc; where the kernel lacks that, by parent."""
    if not _PROC_HAS_CHILDREN:
        return _children_by_parent(pid)
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def _children_by_parent(parent: int) -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    return [pid for pid in pids if (found := _stat(pid)) and found[1] == parent]


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, parents before children, at one glance (they may fork meanwhile)."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def signal_each(pids: Iterable[int], number: int) -> None:
    """Signal processes that may be gone by now."""
    for pid in pids:
        identity = identify(pid)
        if identity is not None:
            with contextlib.suppress(PermissionError):  # another user's, through set-user-id
                send(identity, number)


def freeze_and_kill(root: int) -> None:
    """SIGKILL to all below `root`; stopped first, so that a fork bomb cannot outrun the sweep."""
    stopped: set[int] = set()
    for _ in range(20):
        fresh = set(descendants(root)) - stopped
        if not fresh:
            break
        signal_each(fresh, signal.SIGSTOP)
        stopped |= fresh
    signal_each(descendants(root), signal.SIGKILL)


def with_environment(entry: str) -> list[int]:
    """Processes started with `NAME=value` in their environment: how lost trees are found again."""
    wanted = entry.encode()
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def environment_of(pid: int) -> dict[str, str] | None:
    """The environment a process was started with."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            entries = file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return dict(os.fsdecode(entry).split("=", 1) for entry in entries if b"=" in entry)


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes, with that of their reaped children."""
    total_ticks = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
                words = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total_ticks += sum(map(int, words[11:15]))
    return total_ticks / os.sysconf("SC_CLK_TCK")
