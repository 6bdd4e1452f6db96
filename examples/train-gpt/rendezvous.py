"""How the workers of a gang find each other: rank 0 listens, the others dial.

The address and the ranks come from the environment, as torchrun and maillage set it. Rank 0 listens on
MASTER_ADDR alone. A worker says which run it is of, so that one left over from another run is turned away.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Self

GREETING = struct.Struct("!II16s")  # rank, size of the gang, digest of the run id
WELCOME = b"+"
SILENCE_S = 120.0  # a worker that is connected but says nothing for so long is given up
RETRY_S = 0.05


class GangBroken(RuntimeError):
    """The gang did not come together, or a worker of it is gone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker stands in its gang."""

    rank: int = 0
    size: int = 1
    address: str = "127.0.0.1"
    port: int = 29500
    run_id: str = ""

    @classmethod
    def from_environment(cls) -> Self:
        """One worker on its own where the environment says nothing."""
        env = os.environ.get
        return cls(
            rank=int(env("RANK", "0")),
            size=int(env("WORLD_SIZE", "1")),
            address=env("MASTER_ADDR", "127.0.0.1"),
            port=int(env("MASTER_PORT", "29500")),
            run_id=env("MAILLAGE_RUN_ID", ""),
        )

    def greeting(self, rank: int) -> bytes:
        """What `rank` of this run says first; a worker of another run says something else."""
        return GREETING.pack(rank, self.size, hashlib.sha256(self.run_id.encode()).digest()[:16])


def gather(place: Place, within_s: float) -> dict[int, socket.socket]:
    """At rank 0: every other rank, once all have dialled. Raises GangBroken."""
    deadline = time.monotonic() + within_s
    expected = {place.greeting(rank): rank for rank in range(1, place.size)}
    found: dict[int, socket.socket] = {}
    with _listen(place, deadline) as server:
        while expected:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                peer, _ = server.accept()
            except TimeoutError:
                for known in found.values():
                    known.close()
                ranks = ", ".join(map(str, sorted(expected.values())))
                raise GangBroken(f"rank 0 waited {within_s:.0f} s in vain for rank {ranks}") from None
            try:
                peer.settimeout(5.0)
                greeting = bytearray(GREETING.size)
                fill(peer, memoryview(greeting))
                rank = expected[bytes(greeting)]
                peer.sendall(WELCOME)
            except (OSError, KeyError):
                peer.close()  # a stranger
            else:
                del expected[bytes(greeting)]
                found[rank] = _ready(peer)
    return found


def dial(place: Place, within_s: float) -> dict[int, socket.socket]:
    """At any other rank: rank 0, as soon as it is up. Raises GangBroken."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            peer = socket.create_connection((place.address, place.port), timeout=5.0)
        except OSError:
            time.sleep(RETRY_S)  # rank 0 is not up yet
            continue
        try:
            peer.sendall(place.greeting(place.rank))
            peer.settimeout(max(0.01, deadline - time.monotonic()))
            if peer.recv(1) == WELCOME:
                return {0: _ready(peer)}
        except OSError:
            pass  # as when hung up on: another run still has the port
        peer.close()
        time.sleep(RETRY_S)
    where = f"{place.address}:{place.port}"
    raise GangBroken(f"rank {place.rank} waited {within_s:.0f} s in vain for rank 0 of its run at {where}")


def fill(peer: socket.socket, room: memoryview) -> None:
    """Receive until `room` is full; a worker that hangs up before raises ConnectionResetError."""
    while room:
        count = peer.recv_into(room)
        if count == 0:
            raise ConnectionResetError("it hung up")
        room = room[count:]


def _listen(place: Place, deadline: float) -> socket.socket:
    """A port in TIME_WAIT is taken over at once; one that an old run still holds is waited for."""
    while True:
        try:
            return socket.create_server((place.address, place.port))
        except OSError as error:
            if time.monotonic() > deadline:
                raise GangBroken(f"rank 0 cannot listen on {place.address}:{place.port}: {error}") from error
            time.sleep(RETRY_S)


def _ready(peer: socket.socket) -> socket.socket:
    peer.settimeout(SILENCE_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer
