"""Sums over the workers of a gang, the same to the last bit on every worker and for every gang size."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rendezvous import GangBroken, Place, dial, fill, gather

Array = NDArray[Any]


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
    """The connected workers of one run. Use as a context: leaving it hangs up, and the others hear of it.

    All workers call `sum` and `share` in the same order, with vectors of the same type and length.
    Both raise GangBroken when a worker is gone.
    """

    def __init__(self, place: Place, join_within_s: float = 60.0) -> None:
        self.place = place
        meet = gather if place.rank == 0 else dial
        # By rank: at rank 0 all the others, elsewhere rank 0 alone.
        self._peers = meet(place, join_within_s) if place.size > 1 else {}

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
        for peer in sorted(self._peers):
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

    def _send(self, peer: int, vector: Array) -> None:
        try:
            self._peers[peer].sendall(memoryview(vector).cast("B"))
        except OSError as error:
            raise GangBroken(f"rank {self.place.rank} lost rank {peer}: {error}") from error

    def _receive(self, peer: int, vector: Array) -> None:
        try:
            fill(self._peers[peer], memoryview(vector).cast("B"))
        except OSError as error:
            raise GangBroken(f"rank {self.place.rank} lost rank {peer}: {error}") from error
