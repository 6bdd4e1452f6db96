"""Send the workers' output home, many runs in one call."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection

import structlog

from maillage.control.agent.held import Held
from maillage.control.agent.line import Backoff, Line, LineDown, Refused
from maillage.control.protocol import LogChunk, LogPush
from maillage.engines.port import Engine

CHUNK_BYTES = 256 * 1024
_PUSH_BYTES = 1024 * 1024
_PUSH_CHUNKS = 500

_Piece = tuple[Held, LogChunk, int]  # a chunk of a run's output, and the offset where it ends

log = structlog.get_logger("maillage.agent")


class LogShipper:
    """`note` says that a run has fresh output; `finish` waits until all of it has arrived."""

    def __init__(self, line: Line, engine: Engine) -> None:
        self._line = line
        self._engine = engine
        self._fresh: dict[str, Held] = {}
        self._finishing: dict[str, tuple[Held, asyncio.Future[None]]] = {}
        self._bell = asyncio.Event()

    def note(self, held: Held) -> None:
        self._fresh[held.run_id] = held
        self._bell.set()

    def finish(self, held: Held) -> asyncio.Future[None]:
        """Done when the last byte of the ended run and the word that nothing follows have arrived."""
        if held.run_id not in self._finishing:
            self._finishing[held.run_id] = (held, asyncio.get_running_loop().create_future())
            self._bell.set()
        return self._finishing[held.run_id][1]

    def forget(self, held: Held) -> None:
        self._fresh.pop(held.run_id, None)
        _, waiting = self._finishing.pop(held.run_id, (held, None))
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def run(self) -> None:
        backoff = Backoff()
        while True:
            await self._bell.wait()
            self._bell.clear()
            try:
                await self._round()
                backoff.reset()
            except LineDown:
                self._bell.set()
                await backoff.wait()

    async def _round(self) -> None:
        """One helping of everybody's output; whoever has more rings the bell again."""
        streaming, self._fresh = self._fresh, {}
        finishing = {run_id: held for run_id, (held, _) in self._finishing.items()}
        waiting = [*finishing.values(), *(held for name, held in streaming.items() if name not in finishing)]
        try:
            while waiting:
                batch, waiting = await asyncio.to_thread(self._read_some, waiting, finishing.keys())
                await self._push(batch)
        except LineDown:
            self._fresh = {**streaming, **self._fresh}
            raise
        for held in finishing.values():
            if all(held.log_offsets.get(worker, 0) < 0 for worker in range(held.order.workers)):
                self.forget(held)
        if self._fresh or self._finishing:
            self._bell.set()

    def _read_some(self, helds: list[Held], ended: Collection[str]) -> tuple[list[_Piece], list[Held]]:
        """As many runs' next chunks as fit into one call, and the runs that are left."""
        batch: list[_Piece] = []
        size_bytes = 0
        for index, held in enumerate(helds):
            if len(batch) >= _PUSH_CHUNKS or size_bytes >= _PUSH_BYTES:
                return batch, helds[index:]
            pieces = self._read(held, held.run_id in ended)
            size_bytes += sum(end - chunk.offset for _, chunk, end in pieces)
            batch += pieces
        return batch, []

    def _read(self, held: Held, ended: bool) -> list[_Piece]:
        """The next chunk of each worker; the last one of an ended run says that nothing follows."""
        pieces = []
        for worker in range(held.order.workers):
            asked = held.log_offsets.get(worker, 0)
            if asked < 0:
                continue  # all there, and said so
            start, data = self._engine.logs(held.run_id, worker, asked, CHUNK_BYTES)
            # A short read may be a segment's end: only an empty one after it is the end of all.
            final = ended and not (data and self._engine.logs(held.run_id, worker, start + len(data), 1)[1])
            if data or final:
                text = base64.b64encode(data).decode()
                pieces.append((held, LogChunk(held.run_id, worker, start, text, final), start + len(data)))
            if len(data) == CHUNK_BYTES:
                self._fresh[held.run_id] = held
        return pieces

    async def _push(self, batch: list[_Piece]) -> None:
        if not batch:
            return
        try:
            await self._line.push_logs(LogPush(tuple(chunk for _, chunk, _ in batch)))
        except Refused as refusal:
            if len(batch) > 1:  # one bad apple: find it
                for entry in batch:
                    await self._push([entry])
                return
            log.warning("log refused", run=batch[0][1].run_id, why=str(refusal))
        for held, chunk, end in batch:
            held.log_offsets[chunk.worker] = -1 if chunk.final else end
