"""What a network weighs, and how. All policies are settings of the one core."""

from __future__ import annotations

from dataclasses import dataclass

from maillage.errors import Invalid

BACKFILL = ("fcfs", "easy")


@dataclass(frozen=True, slots=True)
class Policy:
    """`backfill`: fcfs (nothing passes a blocked job of its pool) or easy.

    `fair`: organisations share by usage, which halves every `half_life_s`; without it arrival decides
    alone. `preempt`: flexible work gives way to blocked work of a higher class, and is expected to
    be gone `grace_s` after it was told. `weight_carbon`, `weight_price`: what 100 g/kWh and 100 EUR/MWh
    weigh when a job that asks for nothing special fits at several sites.
    """

    name: str = "default"
    backfill: str = "easy"
    fair: bool = True
    half_life_s: int = 7 * 86_400
    preempt: bool = True
    grace_s: int = 30
    weight_carbon: float = 0.5
    weight_price: float = 0.5

    def __post_init__(self) -> None:
        if self.backfill not in BACKFILL:
            raise Invalid(f"policy: backfill {self.backfill!r} is not one of {', '.join(BACKFILL)}")
        if self.half_life_s <= 0 or self.grace_s < 0:
            raise Invalid("policy: half_life_s must be above 0 and grace_s not below 0")


DEFAULT = Policy()
EASY = Policy(name="easy", fair=False, preempt=False)
FCFS = Policy(name="fcfs", backfill="fcfs", fair=False, preempt=False)
