"""Bring what a run starts with: its work folder, other jobs' outputs, the checkpoint to go on from."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from maillage.control.agent.line import Line, LineDown, Refused
from maillage.control.archives import disk_is_full, unpack
from maillage.control.artifacts import FolderStore
from maillage.engines.port import RunOrder
from maillage.errors import Invalid, Unreachable, UserError
from maillage.workloads.lifecycle import EndReason

CACHE_BYTES = 20 * 1024**3


class CannotStage(Exception):
    """The run cannot be given what it starts with."""

    def __init__(self, reason: EndReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Stager:
    """Fetches artifacts once and keeps them; the oldest go when the cache is full."""

    def __init__(self, line: Line, folder: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self._line = line
        self._store = FolderStore(folder)
        self._cache_bytes = cache_bytes
        self._fetching: dict[str, asyncio.Lock] = {}

    async def stage(self, order: RunOrder, folder: Path) -> None:
        """Unpack all of it below the run's folder. Raises CannotStage, or LineDown to try again later."""
        wanted = [("the work folder", order.workdir, folder / "work")] if order.workdir else []
        for digest, to in order.inputs:
            wanted.append((f"the input {to or '.'}", digest, _inside(folder / "work", to)))
        try:
            for what, digest, into in wanted:
                await self._bring(what, digest, into)
            if order.checkpoint_path:
                await asyncio.to_thread(_make_room_for_checkpoint, order, folder)
            if order.restore:
                await self._bring("the checkpoint", order.restore, order.checkpoint_folder(folder))
        except OSError as error:
            if disk_is_full(error):
                raise CannotStage(EndReason.DISK_FULL, "the site's disk is full") from error
            raise

    async def _bring(self, what: str, digest: str, into: Path) -> None:
        try:
            await self._fetch(digest)
            await asyncio.to_thread(self._unpack, digest, into)
        except Refused as refusal:
            if refusal.status in (401, 403, 409):
                raise LineDown(str(refusal)) from refusal  # the site's token, not the run: wait
            raise CannotStage(
                EndReason.INPUT_MISSING, f"{what} could not be brought: {refusal} ({digest})"
            ) from refusal
        except Unreachable as full:
            raise CannotStage(EndReason.DISK_FULL, f"the site's disk is full: {what} has no room") from full
        except UserError as error:
            raise CannotStage(EndReason.INPUT_MISSING, f"{what} could not be unpacked: {error}") from error

    async def _fetch(self, digest: str) -> None:
        """Into the cache, once, however many runs ask for it at the same time."""
        lock = self._fetching.setdefault(digest, asyncio.Lock())
        async with lock:
            if self._store.size(digest) is not None:
                return
            upload = await asyncio.to_thread(self._store.begin, digest)
            try:
                async for chunk in self._line.download(digest):
                    await asyncio.to_thread(upload.write, chunk)
                await asyncio.to_thread(upload.commit)
            except Invalid as error:  # cut in the middle: what came is not what the name says
                upload.abort()
                raise LineDown(str(error)) from error
            except BaseException:
                upload.abort()
                raise
            await asyncio.to_thread(self._make_room, digest)
        self._fetching.pop(digest, None)

    def _unpack(self, digest: str, into: Path) -> None:
        path = self._store.path(digest)
        with self._store.open(digest) as archive:
            unpack(archive, into)
        path.touch()  # used now: the cache drops what was not used for longest

    def _make_room(self, keep: str) -> None:
        files = [(path.stat(), path) for path in self._store.folder.glob("??/*")]
        total_bytes = sum(info.st_size for info, _ in files)
        for info, path in sorted(files, key=lambda item: item[0].st_mtime):
            if total_bytes <= self._cache_bytes:
                break
            if path != self._store.path(keep):
                path.unlink(missing_ok=True)
                total_bytes -= info.st_size


def _inside(folder: Path, to: str) -> Path:
    target = folder / to
    if ".." in target.parts or not target.is_relative_to(folder):
        raise CannotStage(EndReason.INPUT_MISSING, f"the input's folder {to!r} leads outside the work folder")
    return target


def _make_room_for_checkpoint(order: RunOrder, folder: Path) -> None:
    """Its folder in the work folder; empty where a checkpoint comes, for what travelled there is older."""
    work, target = folder / "work", order.checkpoint_folder(folder)
    what = f"the checkpoint folder {order.checkpoint_path!r}"
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    real = target.resolve()
    if work.resolve() not in real.parents:
        raise CannotStage(EndReason.INPUT_MISSING, f"{what} leads out of the work folder")
    if order.restore and real.is_dir():
        shutil.rmtree(real)
    try:
        real.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise CannotStage(
            EndReason.INPUT_MISSING, f"{what} cannot be made: a file of the work folder is in its way"
        ) from None
