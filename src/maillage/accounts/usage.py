"""What runs held and what that costs: whole numbers in, whole numbers out.

Held time is counted in unit-milliseconds (a unit is an accelerator, or a CPU in a pool that has
none), prices in micro-credits per unit and hour. The rounding rule: intervals of one site, pool and
price are summed exactly, then the sum is rounded **down** to a whole micro-credit, once. So cutting
an interval in two changes nothing, a line never costs more than was used, and the total is the sum
of its lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from maillage.errors import OutOfRange

MS_PER_H = 3_600_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A run held `units` of a pool over [from_ms, to_ms), Unix milliseconds.

    `charged` is false where the user pays nothing for it (the site's fault); `metered_cpu_s` is the CPU
    time used, None where nothing was metered. `price_micros` is per unit and hour.
    Raises OutOfRange where it ends before it starts or anything is negative.
    """

    site: str
    pool: str
    from_ms: int
    to_ms: int
    units: int
    price_micros: int
    charged: bool = True
    metered_cpu_s: float | None = None

    def __post_init__(self) -> None:
        if self.to_ms < self.from_ms:
            raise OutOfRange(f"{self.site}/{self.pool}: held until {self.to_ms} ms, before {self.from_ms} ms")
        if self.units < 0 or self.price_micros < 0 or not (self.metered_cpu_s or 0.0) >= 0.0:
            raise OutOfRange(f"{self.site}/{self.pool}: units, price and CPU time are 0 or more")

    @property
    def unit_ms(self) -> int:
        return self.units * (self.to_ms - self.from_ms)


@dataclass(frozen=True, slots=True)
class Line:
    """What was held of one pool at one price. `uncharged_unit_ms` is the part of `unit_ms` that is free."""

    site: str
    pool: str
    price_micros: int
    unit_ms: int
    uncharged_unit_ms: int
    metered_cpu_s: float | None

    @property
    def unit_s(self) -> float:
        return self.unit_ms / 1000

    @property
    def credits_micros(self) -> int:
        """Owed for the charged part, rounded down."""
        return credits_micros(self.unit_ms - self.uncharged_unit_ms, self.price_micros)

    @property
    def waived_micros(self) -> int:
        """What the uncharged part would have cost, rounded down: said, never owed."""
        return credits_micros(self.uncharged_unit_ms, self.price_micros)


@dataclass(frozen=True, slots=True)
class Usage:
    """Lines in the order in which their pools were first held."""

    lines: tuple[Line, ...]

    @property
    def unit_ms(self) -> int:
        return sum(line.unit_ms for line in self.lines)

    @property
    def credits_micros(self) -> int:
        return sum(line.credits_micros for line in self.lines)

    @property
    def waived_micros(self) -> int:
        return sum(line.waived_micros for line in self.lines)


def credits_micros(unit_ms: int, price_micros: int) -> int:
    """Whole micro-credits for held unit-milliseconds at a price per unit and hour, rounded down.

    >>> credits_micros(2 * 90_000, 10_000)  # two CPUs for 90 s at 0.01 credits an hour
    500
    >>> credits_micros(1, 1)
    0
    """
    return unit_ms * price_micros // MS_PER_H


def usage(intervals: Iterable[Interval]) -> Usage:
    """Sum what was held by site, pool and price.

    >>> whole = usage([Interval("paris", "cpu", 0, 60_000, 2, 10_000)])
    >>> whole.lines[0].unit_s, whole.credits_micros
    (120.0, 333)
    """
    by_pool: dict[tuple[str, str, int], list[Interval]] = {}
    for interval in intervals:
        by_pool.setdefault((interval.site, interval.pool, interval.price_micros), []).append(interval)
    return Usage(tuple(_line(*key, held) for key, held in by_pool.items()))


def shares(intervals: Iterable[Interval]) -> tuple[int, ...]:
    """Micro-credits of each interval, in order, so that they add up to their lines of `usage`.

    Each is what its line grew by, rounded, when the interval was added: at most one micro-credit
    off its exact cost.

    >>> shares([Interval("paris", "cpu", 0, 50, 1, 36_000), Interval("paris", "cpu", 50, 150, 1, 36_000)])
    (0, 1)
    """
    owed: dict[tuple[str, str, int], int] = {}
    parts = []
    for interval in intervals:
        key = (interval.site, interval.pool, interval.price_micros)
        before = owed.get(key, 0)
        owed[key] = before + (interval.unit_ms if interval.charged else 0)
        price = interval.price_micros
        parts.append(credits_micros(owed[key], price) - credits_micros(before, price))
    return tuple(parts)


def _line(site: str, pool: str, price_micros: int, held: list[Interval]) -> Line:
    metered = [interval.metered_cpu_s for interval in held if interval.metered_cpu_s is not None]
    return Line(
        site=site,
        pool=pool,
        price_micros=price_micros,
        unit_ms=sum(interval.unit_ms for interval in held),
        uncharged_unit_ms=sum(interval.unit_ms for interval in held if not interval.charged),
        metered_cpu_s=sum(metered) if metered else None,
    )
