"""From the grid's meter to the racks: what the electrical chain of a campus loses.

Losses are shares of what flows into each part (assumptions, docs/explanation/energy.md#facility):
transformer 0.6 %, uninterruptible supply (UPS) 2.5 %, distribution (PDU) 0.8 %. IT sits behind all
three; pumps, fans and chillers sit behind the transformer alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from maillage.errors import OutOfRange


@dataclass(frozen=True, slots=True)
class Chain:
    """Losses of the electrical chain, each a share (0 to below 1) of what flows in."""

    transformer: float = 0.006
    ups: float = 0.025
    pdu: float = 0.008

    def __post_init__(self) -> None:
        for name, share in (("transformer", self.transformer), ("ups", self.ups), ("pdu", self.pdu)):
            if not 0.0 <= share < 1.0:
                raise OutOfRange(f"{name} loss {share}: a share from 0 to below 1")


def drawn_per_it(chain: Chain, mechanical_per_it: float) -> float:
    """Facility power per IT power (the PUE) where cooling and the rest draw `mechanical_per_it` of IT.

    (1 / ((1 - pdu) (1 - ups)) + mechanical) / (1 - transformer), kW per kW, 1 and above.
    Raises OutOfRange for a negative share.

    >>> round(drawn_per_it(Chain(), 0.0), 4)  # the electrical losses alone
    1.0402
    >>> round(drawn_per_it(Chain(0.02, 0.06, 0.01), 0.0), 4)
    1.0965
    """
    if mechanical_per_it < 0.0:
        raise OutOfRange(f"mechanical power per IT power {mechanical_per_it}: 0 or more")
    it_side = 1.0 / ((1.0 - chain.pdu) * (1.0 - chain.ups))
    return (it_side + mechanical_per_it) / (1.0 - chain.transformer)
