"""Take home what a run makes: checkpoints while it runs and when it ends, outputs when it ends."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maillage.control.agent.held import Held, write_kept
from maillage.control.agent.line import Line
from maillage.control.archives import FolderChanged, Packed, pack
from maillage.errors import Invalid

UNFINISHED = (".*", "*.tmp")  # names that a job gives to files it is still writing
_TRIES = 5

Mark = tuple[tuple[str, int, int], ...]


def look(folder: Path) -> Mark:
    """(name, bytes, when) of each finished file; equal marks mean that nothing was written."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith(".") or name.endswith(".tmp"):
                continue
            path = os.path.join(place, name)  # noqa: PTH118
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                continue
            found.append((path, info.st_size, info.st_mtime_ns))
    return tuple(sorted(found))


def pack_at_rest(
    folder: Path, into: Path, ignore: Sequence[str] = (), keep: Sequence[str] = ("**",)
) -> Packed:
    """Pack a folder that may be written to meanwhile: again, until one pack saw no change."""
    for attempt in range(_TRIES):
        before = look(folder)
        try:
            packed = pack(folder, ignore=ignore, keep=keep, strict=False, into=into)
        except FolderChanged:
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.05)
            continue
        if look(folder) == before or attempt == _TRIES - 1:
            return packed
        packed.path.unlink()
    raise AssertionError


class Keeper:
    """Packs and uploads. `spool` is where archives lie until they are up."""

    def __init__(self, line: Line, spool: Path) -> None:
        self._line = line
        self._spool = spool
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left_over in spool.iterdir():
            left_over.unlink()

    async def checkpoint(self, held: Held) -> bool:
        """Keep the newest checkpoint if there is a new one. Raises LineDown, Refused, UserError."""
        async with held.checkpoint_lock:
            folder = _of_the_run(held.order.checkpoint_folder(held.folder), held.folder)
            mark = await asyncio.to_thread(look, folder)
            if not mark or mark == held.checkpoint_mark:
                return False
            taken_ms = time.time_ns() // 1_000_000
            packed = await asyncio.to_thread(pack_at_rest, folder, self._spool, UNFINISHED)
            await self._send(packed)
            held.checkpoint_mark = mark
            if packed.digest in (held.report.checkpoint, held.order.restore):
                return False  # the same bytes as the one we have, or started from
            held.report = replace(
                held.report,
                checkpoint=packed.digest,
                checkpoint_at_ms=max(taken_ms, held.report.started_at_ms),
            )
            await asyncio.to_thread(write_kept, held.folder, held.report)
            return True

    async def outputs(self, held: Held) -> str:
        """The digest of what is kept of the output folder, "" where nothing is."""
        folder = _of_the_run(held.folder / "output", held.folder)
        if not await asyncio.to_thread(_holds_anything, folder):
            return ""
        packed = await asyncio.to_thread(pack_at_rest, folder, self._spool, (), held.order.outputs)
        if not packed.files:
            packed.path.unlink()
            return ""
        await self._send(packed)
        return packed.digest

    async def _send(self, packed: Packed) -> None:
        try:
            if not await self._line.has_artifact(packed.digest):
                await self._line.upload(packed.digest, packed.path)
        finally:
            packed.path.unlink(missing_ok=True)


def _of_the_run(folder: Path, run_folder: Path) -> Path:
    """The folder, unless the job has put a link that leads elsewhere in its place. Raises Invalid."""
    if not folder.resolve().is_relative_to(run_folder.resolve()):
        raise Invalid(f"{folder.name!r} leads out of the run's folder: keep files there, not a link")
    return folder


def _holds_anything(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except FileNotFoundError:
        return False
