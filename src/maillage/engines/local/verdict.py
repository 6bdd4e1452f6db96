"""Why a run ended, in the network's terms and in a sentence for people."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass

from maillage.engines.local import output
from maillage.engines.local.records import RunFolder
from maillage.engines.port import SERVICE_SAYS
from maillage.workloads.lifecycle import EndReason

_FULL_BYTES = 64 * 1024  # less than this free is a full disk
_NEARLY_FULL = 0.05  # with the job's own word for it, so is less than this share
_SAID_CHARACTERS = 500
_FULL_WORDS = (b"No space left on device", b"Disk quota exceeded", b"File too large")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ordered`: somebody asked for it (a later order may then change the reason)."""

    reason: EndReason
    message: str
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """The machine could not do what starting a run needs."""

    error: OSError

    def verdict(self) -> Verdict:
        if self.error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Verdict(EndReason.DISK_FULL, "the site's disk is full: the run could not be started")
        return Verdict(EndReason.RETURNED, f"the site could not start the run: {self.error.strerror}")


def stopped(reason: EndReason) -> Verdict:
    return Verdict(reason, "", ordered=True)


def timed_out(limit_s: float) -> Verdict:
    return Verdict(EndReason.TIMED_OUT, f"it reached its time limit of {limit_s:g} s")


def lost_contact(after_s: float) -> Verdict:
    return Verdict(
        EndReason.SITE_LOST, f"the site had no contact with the network for {after_s:g} s and stopped it"
    )


def judge(
    rank: int,
    code: int,
    *,
    oom_kills: int,
    machine_oom_kills: int,
    memory_mib: int,
    disk_was_full: bool,
    folder: RunFolder,
) -> Verdict:
    """Why worker `rank` ended with `code` (a signal as minus its number), from what the kernel says."""
    how = f"worker {rank} {_in_words(code)}"
    killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    if oom_kills:
        return Verdict(
            EndReason.OUT_OF_MEMORY, f"{how}: the run used more than its {memory_mib} MiB of memory"
        )
    if killed and machine_oom_kills:
        return Verdict(EndReason.OUT_OF_MEMORY, f"{how}: the machine ran out of memory")
    if disk_was_full or code == -signal.SIGXFSZ or _disk_is_full(folder, rank):
        return Verdict(EndReason.DISK_FULL, f"{how}: the site's disk is full")
    said = _service_says(folder, rank)
    return Verdict(EndReason.FAILED, f"{how}: {said}" if said else how)


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was ended by signal {-code}"


def _disk_is_full(folder: RunFolder, rank: int) -> bool:
    """Full now; or nearly, and the worker's last words say so (it may have cleaned up as it died)."""
    disk = os.statvfs(folder.path)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < _FULL_BYTES or (disk.f_files and not disk.f_favail):
        return True
    if free_bytes > _NEARLY_FULL * disk.f_blocks * disk.f_frsize:
        return False
    return any(words in _last_words(folder, rank) for words in _FULL_WORDS)


def _service_says(folder: RunFolder, rank: int) -> str:
    """Why a service says that it ended; "" for a job, or one that did not say."""
    lines = _last_words(folder, rank).decode("utf-8", "replace").rstrip().splitlines()
    if not lines or not lines[-1].startswith(SERVICE_SAYS):
        return ""
    return lines[-1].removeprefix(SERVICE_SAYS)[:_SAID_CHARACTERS]


def _last_words(folder: RunFolder, rank: int, size: int = 4096) -> bytes:
    names = sorted(name for name in os.listdir(folder.logs) if name.startswith(f"{rank}."))  # noqa: PTH208
    if not names:
        return b""
    start = int(names[-1].split(".")[1])
    end = start + (folder.logs / names[-1]).stat().st_size
    return output.read(folder.logs, rank, max(start, end - size), size)[1]
