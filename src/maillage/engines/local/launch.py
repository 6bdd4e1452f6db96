"""From a plan to running workers: find the command, fork, put on the limits, exec."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import asdict, dataclass, field
from typing import Any

from maillage.engines.local import tree
from maillage.engines.local.limits import Groups, Hierarchy, limit_worker


@dataclass(frozen=True, slots=True)
class Plan:
    """All a supervisor needs to know. It holds secrets (in `env`): it goes from memory to memory.

    `argv` is empty where `script`, a file run by bash, says what to do. `ranks`: what is added to
    the environment of each worker. `lease` is a file with the instant (monotonic clock, seconds) of
    the site's last contact with the network. `bell` is the pipe on which the engine hears of news.
    """

    run_id: str
    folder: str
    argv: tuple[str, ...]
    script: str
    env: dict[str, str]
    ranks: tuple[dict[str, str], ...]
    grace_s: float
    time_limit_s: float
    lease: str
    site_stops_after_s: float
    cpus: float
    memory_mib_per_worker: int
    hierarchy: Hierarchy = field(default_factory=Hierarchy)
    bell: str = ""
    segment_bytes: int = 8 * 1024 * 1024
    segments_kept: int = 8

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Plan:
        hierarchy = body.pop("hierarchy")
        hierarchy["unified_limits"] = tuple(hierarchy["unified_limits"])
        body["argv"], body["ranks"] = tuple(body["argv"]), tuple(body["ranks"])
        return cls(hierarchy=Hierarchy(**hierarchy), **body)


class CannotStart(Exception):
    """The command is not there or is no program; the message is for people."""


def find_command(name: str, path: str, work: str) -> str:
    """The file that `name` means, as execvp(3) finds it. Raises CannotStart."""
    if "/" in name:
        if not os.path.exists(os.path.join(work, name)):  # noqa: PTH110, PTH118
            raise CannotStart(f"command {name!r} not found in the work folder")
        return name
    seen = ""
    for folder in path.split(os.pathsep):
        candidate = os.path.join(work, folder, name)  # noqa: PTH118
        if os.path.isfile(candidate):  # noqa: PTH113
            if os.access(candidate, os.X_OK):
                return candidate
            seen = candidate
    if seen:
        raise CannotStart(f"command {name!r} is at {seen}, but is not executable (chmod +x)")
    raise CannotStart(f"command {name!r} not found; PATH searched: {path}")


_WHY = {
    errno.ENOENT: "its interpreter (the first line, after #!) does not exist",
    errno.EACCES: "it is not executable (chmod +x)",
    errno.EPERM: "it may not be executed here",
    errno.ENOEXEC: "it is no program; a script needs a first line such as #!/bin/sh",
    errno.E2BIG: "command and environment are too long",
}


def start_worker(
    plan: Plan, rank: int, command: str, argv: tuple[str, ...], output: int, groups: Groups
) -> int:
    """Fork and exec one worker in its own session; its pid, once exec has worked. Raises CannotStart."""
    trouble_in, trouble_out = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    env = {**plan.env, **plan.ranks[rank]}
    pid = os.fork()
    if pid == 0:
        _become_worker(plan, parent, command, argv, env, output, groups, trouble_out)
    os.close(trouble_out)
    with os.fdopen(trouble_in, "rb") as trouble:
        told = trouble.read()
    if told:
        os.waitpid(pid, 0)
        number = int(told)
        why = _WHY.get(number, os.strerror(number))
        raise CannotStart(f"command {argv[0]!r} could not be started: {why}")
    return pid


def _become_worker(
    plan: Plan,
    parent: int,
    command: str,
    argv: tuple[str, ...],
    env: dict[str, str],
    output: int,
    groups: Groups,
    trouble: int,
) -> None:
    """In the child: everything between fork and exec. Never returns."""
    try:
        os.setsid()
        tree.die_with_parent(parent)
        tree.gain_no_privileges()
        groups.join()
        limit_worker(plan.memory_mib_per_worker, held_by_group=bool(groups.memory))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(os.path.join(plan.folder, "work"))  # noqa: PTH118
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        os.execve(command, argv, env)  # noqa: S606 - the user's own command, without a shell
    except OSError as error:
        os.write(trouble, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(127)
