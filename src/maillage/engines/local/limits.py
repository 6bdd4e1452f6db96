"""CPU, memory and process limits by cgroups (v2, v1 or the two side by side), else by rlimits.

Where the kernel lets us, each run has groups of its own. One of v2 is worth having even without
controllers: `cgroup.kill` ends a tree in one write, and `cpu.stat` meters it. What is truly held
is told in `Groups.enforced`, because on many machines it is less than what was asked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import time
from dataclasses import dataclass, field
from typing import Any

PERIOD_US = 100_000  # the kernel's own default for CPU bandwidth
PIDS_PER_RUN = 4096
_LIMITS = ("cpu", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups can be made on this machine: a folder per kind, "" where none can.

    `unified_limits`: the controllers that the v2 folder hands down.
    """

    unified: str = ""
    unified_limits: tuple[str, ...] = ()
    cpu: str = ""
    memory: str = ""
    pids: str = ""


def detect(name: str) -> Hierarchy:
    """Find (and make) the folder `name` below our own group in every hierarchy that lets us."""
    ours = _our_groups()
    found: dict[str, Any] = {}
    for kind, mount in _mounts().items():
        base = _writable(mount, ours.get(kind, "/"), name)
        if not base:
            continue
        if kind != "unified":
            found[kind] = base
        elif os.path.exists(f"{base}/cgroup.kill"):  # noqa: PTH110 - Linux 5.14 and later
            found["unified"] = base
            found["unified_limits"] = _hand_down(base)
    return Hierarchy(**found)


def _our_groups() -> dict[str, str]:
    """Our group per kind, from /proc/self/cgroup."""
    groups: dict[str, str] = {}
    with open("/proc/self/cgroup") as file:  # noqa: PTH123
        for line in file:
            number, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(",") if number != "0" else ["unified"]:
                groups[controller] = path
    return groups


def _mounts() -> dict[str, str]:
    """Mount point per kind, from /proc/self/mounts."""
    mounts: dict[str, str] = {}
    with open("/proc/self/mounts") as file:  # noqa: PTH123
        for line in file:
            _, point, kind, options, *_ = line.split()
            if kind == "cgroup2":
                mounts.setdefault("unified", point)
            elif kind == "cgroup":
                for controller in set(options.split(",")) & set(_LIMITS):
                    mounts.setdefault(controller, point)
    return mounts


def _writable(mount: str, ours: str, name: str) -> str:
    """The folder made, below our own group or (in a container that hides it) below the mount."""
    for base in (f"{mount}/{ours.strip('/')}".rstrip("/"), mount):
        try:
            os.makedirs(f"{base}/{name}", exist_ok=True)  # noqa: PTH103
        except OSError:
            continue
        if os.access(f"{base}/{name}/cgroup.procs", os.W_OK):
            return f"{base}/{name}"
    return ""


def _hand_down(base: str) -> tuple[str, ...]:
    """Switch v2 controllers on for groups below `base`; those that the kernel lets us."""
    held = []
    for controller in _LIMITS:
        try:
            for folder in (os.path.dirname(base), base):  # noqa: PTH120
                _write(f"{folder}/cgroup.subtree_control", f"+{controller}")
        except OSError:  # not delegated, or the group above holds processes
            continue
        held.append(controller)
    return tuple(held)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _number(path: str, key: str) -> int:
    """The number beside `key` in a flat keyed file; 0 where there is none."""
    with contextlib.suppress(OSError), open(path) as file:  # noqa: PTH123
        for line in file:
            word, _, value = line.partition(" ")
            if word == key:
                return int(value)
    return 0


@dataclass(slots=True)
class Groups:
    """The groups of one run."""

    unified: str = ""
    cpu: str = ""
    memory: str = ""
    pids: str = ""
    enforced: list[str] = field(default_factory=list)

    @property
    def folders(self) -> list[str]:
        return list(dict.fromkeys(path for path in (self.unified, self.cpu, self.memory, self.pids) if path))

    def join(self) -> None:
        """The calling process, and all it will ever fork, goes in."""
        for folder in self.folders:
            _write(f"{folder}/cgroup.procs", "0")

    def kill(self) -> bool:
        """SIGKILL to all in it by one write; False where the kernel cannot."""
        if not self.unified:
            return False
        try:
            _write(f"{self.unified}/cgroup.kill", "1")
        except OSError:
            return False
        return True

    def members(self) -> list[int]:
        for folder in self.folders:
            with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs") as file:  # noqa: PTH123
                return [int(line) for line in file]
        return []

    def oom_kills(self) -> int:
        """How many processes the kernel ended because the run's memory was used up."""
        if not self.memory:
            return 0
        name = "memory.events" if self.memory == self.unified else "memory.oom_control"
        return _number(f"{self.memory}/{name}", "oom_kill")

    def cpu_s(self) -> float:
        """CPU time used in the group so far; 0 where it is not metered."""
        return _number(f"{self.unified}/cpu.stat", "usage_usec") / 1e6 if self.unified else 0.0

    def remove(self, patience_s: float = 1.0) -> None:
        """Remove the groups; the kernel may call them busy for a moment after the last exit."""
        until = time.monotonic() + patience_s
        for folder in self.folders:
            while True:
                try:
                    os.rmdir(folder)  # noqa: PTH106
                except OSError as error:
                    if error.errno == errno.EBUSY and time.monotonic() < until:
                        time.sleep(0.01)
                        continue
                break


def make(where: Hierarchy, name: str, cpus: float, memory_mib: int) -> Groups:
    """Groups for one run with limits of `cpus` and `memory_mib` (0: none) for the whole run."""
    groups = Groups()
    if where.unified:
        groups.unified = _folder(where.unified, name)
    for kind in _LIMITS:
        if (kind == "memory" and memory_mib <= 0) or (kind == "cpu" and cpus <= 0):
            continue
        v2 = bool(groups.unified) and kind in where.unified_limits
        folder = groups.unified if v2 else _folder(getattr(where, kind), name)
        if folder and _set_limit(folder, kind, v2, cpus, memory_mib):
            setattr(groups, kind, folder)
            groups.enforced.append(kind)
    return groups


def leave(where: Hierarchy) -> None:
    """Remove the folders that `detect` made, unless runs live on in them."""
    for base in filter(None, (where.unified, where.cpu, where.memory, where.pids)):
        with contextlib.suppress(OSError):
            os.rmdir(base)  # noqa: PTH106


def find(where: Hierarchy, name: str) -> Groups:
    """The groups that `make` makes under this name, whether or not they are there."""

    def path(base: str) -> str:
        return f"{base}/{name}" if base else ""

    return Groups(path(where.unified), path(where.cpu), path(where.memory), path(where.pids))


def _folder(base: str, name: str) -> str:
    if not base:
        return ""
    try:
        os.makedirs(f"{base}/{name}", exist_ok=True)  # noqa: PTH103 - the base may have been cleaned away
    except OSError:
        return ""
    return f"{base}/{name}"


def _set_limit(folder: str, kind: str, v2: bool, cpus: float, memory_mib: int) -> bool:
    quota_us = max(1000, int(cpus * PERIOD_US))
    memory_bytes = memory_mib * 1024 * 1024
    wanted = {
        ("cpu", True): [("cpu.max", f"{quota_us} {PERIOD_US}")],
        ("cpu", False): [("cpu.cfs_period_us", str(PERIOD_US)), ("cpu.cfs_quota_us", str(quota_us))],
        ("memory", True): [("memory.max", str(memory_bytes))],
        ("memory", False): [("memory.limit_in_bytes", str(memory_bytes))],
        ("pids", True): [("pids.max", str(PIDS_PER_RUN))],
        ("pids", False): [("pids.max", str(PIDS_PER_RUN))],
    }[kind, v2]
    try:
        for name, value in wanted:
            _write(f"{folder}/{name}", value)
    except OSError:
        return False
    return True


def machine_oom_kills() -> int:
    """How often the kernel ran out of memory since boot, whoever was ended."""
    return _number("/proc/vmstat", "oom_kill")


def limit_worker(memory_mib: int, held_by_group: bool) -> None:
    """What a worker process holds by itself, between fork and exec: no core files, memory if need be."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mib > 0 and not held_by_group:
        # Data, not address space: runtimes reserve far more addresses than they ever use.
        memory_bytes = memory_mib * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError):
        _write("/proc/self/oom_score_adj", "500")  # a job goes before the network's own processes do
