"""Sums over the workers of a gang, by plain TCP, the same to the last bit on every worker.

Rank 0 listens on MASTER_ADDR:MASTER_PORT (and on no other address), the others dial it for as long
as it takes to come up. `sum` gathers vectors at rank 0, adds them in a fixed order and sends the
result to all. A worker that dies closes its connection, and the others hear of it at once.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
GREETING = struct.Struct("!II16s")  # rank, size of the gang, digest of the run id
SILENCE_S = 120.0  # a worker that is connected but says nothing for so long is given up


class GangBroken(RuntimeError):
    """The gang did not come together, or a worker of it is gone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker stands, as torchrun and maillage tell it in the environment."""

    rank: int = 0
    size: int = 1
    address: str = "127.0.0.1"
    port: int = 29500
    run_id: str = ""

    @classmethod
    def from_environment(cls) -> Self:
        """One worker on its own where the environment says nothing."""
        env = os.environ.get
        rank, size, port = (
            int(env("RANK", "0")),
            int(env("WORLD_SIZE", "1")),
            int(env("MASTER_PORT", "29500")),
        )
        return cls(rank, size, env("MASTER_ADDR", "127.0.0.1"), port, env("MAILLAGE_RUN_ID", ""))

    def greeting(self, rank: int) -> bytes:
        """What `rank` of this run says first; a worker of another run says something else."""
        return GREETING.pack(rank, self.size, hashlib.sha256(self.run_id.encode()).digest()[:16])


def tree_sum(vectors: list[Array]) -> Array:
    """Neighbours are added by twos, then their sums, up to one: (a + b) + (c + d).

    Rounding follows the order of additions. In this order 1, 2 or 4 workers, each summing its own
    share of neighbours first, all come to the same bits.
    """
    while len(vectors) > 1:
        pairs = [left + right for left, right in zip(vectors[::2], vectors[1::2], strict=False)]
        vectors = pairs + vectors[2 * len(pairs) :]
    return vectors[0]


class Gang:
    """The connected workers of one run. Use as a context: leaving it hangs up."""

    def __init__(self, place: Place, join_within_s: float = 60.0) -> None:
        self.place = place
        self._peers: dict[int, socket.socket] = {}  # by rank: at rank 0 all the others, elsewhere rank 0
        deadline = time.monotonic() + join_within_s
        if place.size > 1:
            try:
                self._gather(deadline) if place.rank == 0 else self._dial(deadline)
            except BaseException:
                self.close()
                raise

    def sum(self, vector: Array) -> None:
        """Replace `vector` by its sum over all workers, in the order of `tree_sum`."""
        if self.place.rank == 0:
            parts = [vector, *(np.empty_like(vector) for _ in self._peers)]
            for peer in sorted(self._peers):
                self._receive(peer, parts[peer])
            vector[:] = tree_sum(parts)
        else:
            self._send(0, vector)
        self.share(vector)

    def share(self, vector: Array) -> None:
        """Replace `vector` by that of rank 0."""
        for peer in self._peers:
            if self.place.rank == 0:
                self._send(peer, vector)
            else:
                self._receive(peer, vector)

    def close(self) -> None:
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gather(self, deadline: float) -> None:
        """Rank 0 waits until every other rank of its run has dialled, and hangs up on strangers."""
        place = self.place
        expected = {place.greeting(rank): rank for rank in range(1, place.size)}
        with _listen(place, deadline) as server:
            while expected:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    missing = sorted(expected.values())
                    raise GangBroken(f"rank 0 waited in vain for ranks {missing}") from None
                try:
                    peer.settimeout(5.0)
                    rank = expected.pop(_exactly(peer, GREETING.size))
                    peer.sendall(b"+")
                except (OSError, KeyError):
                    peer.close()
                else:
                    self._peers[rank] = _ready(peer)

    def _dial(self, deadline: float) -> None:
        place = self.place
        while time.monotonic() < deadline:
            try:
                peer = socket.create_connection((place.address, place.port), timeout=5.0)
                peer.sendall(place.greeting(place.rank))
                if peer.recv(1) == b"+":
                    self._peers[0] = _ready(peer)
                    return
                peer.close()  # another run still has the port
            except OSError:
                pass  # rank 0 is not up yet
            time.sleep(0.05)
        raise GangBroken(f"rank {place.rank} found no rank 0 of its run at {place.address}:{place.port}")

    def _send(self, peer: int, vector: Array) -> None:
        try:
            self._peers[peer].sendall(memoryview(vector).cast("B"))
        except OSError as error:
            raise GangBroken(f"rank {self.place.rank} lost rank {peer}: {error}") from error

    def _receive(self, peer: int, vector: Array) -> None:
        try:
            _fill(self._peers[peer], memoryview(vector).cast("B"))
        except OSError as error:
            raise GangBroken(f"rank {self.place.rank} lost rank {peer}: {error}") from error


def _listen(place: Place, deadline: float) -> socket.socket:
    """A port in TIME_WAIT is taken over at once; one that an old run still holds is waited for."""
    while True:
        try:
            return socket.create_server((place.address, place.port))
        except OSError as error:
            if time.monotonic() > deadline:
                raise GangBroken(f"cannot listen on {place.address}:{place.port}: {error}") from error
            time.sleep(0.05)


def _ready(peer: socket.socket) -> socket.socket:
    peer.settimeout(SILENCE_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    _fill(peer, memoryview(data))
    return bytes(data)


def _fill(peer: socket.socket, room: memoryview) -> None:
    while room:
        count = peer.recv_into(room)
        if count == 0:
            raise ConnectionResetError("it hung up")
        room = room[count:]
