"""Step series on UTC instants: what a signal was, hour by hour, and what it adds up to.

A value holds from its instant until the next one; the last holds onward. Before the first instant
there is no value and asking for one is an error. A series holds no NaN and no infinity: whoever has
gaps closes them first, by a stated rule, and says so in `About.repaired`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import floor
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from maillage.errors import Invalid, OutOfRange

Floats = NDArray[np.float64]
Instants = NDArray[np.int64]

ALWAYS_S = -62_135_596_800  # 0001-01-01T00:00:00Z, the first instant of a series that never changes


@dataclass(frozen=True, slots=True)
class About:
    """Where a series comes from. Carbon means nothing without method, boundary, source and vintage.

    `repaired` counts the values that the source did not have and a rule filled in; the rule stands
    in `method`.
    """

    name: str
    unit: str
    method: str = ""
    boundary: str = ""
    source: str = ""
    vintage: str = ""
    repaired: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Series:
    """An immutable step series: int64 seconds since the Unix epoch, float64 values in `about.unit`."""

    __slots__ = ("_sums", "about", "times_s", "values")

    times_s: Instants
    values: Floats
    about: About
    _sums: Floats  # _sums[i] is the integral from the first instant to times_s[i]

    def __init__(self, times_s: Any, values: Any, about: About) -> None:
        """Raises Invalid where instants are not growing whole seconds, lengths differ, nothing is given,
        or a value is not finite."""
        times = _frozen(times_s, np.dtype(np.int64))
        steps = _frozen(values, np.dtype(np.float64))
        if not np.array_equal(times, np.asarray(times_s)):
            raise Invalid(f"{about.name}: instants must be whole seconds")
        _check(times, steps, about.name)
        sums = np.concatenate(([0.0], np.cumsum(steps[:-1] * np.diff(times))))
        sums.flags.writeable = False
        object.__setattr__(self, "times_s", times)
        object.__setattr__(self, "values", steps)
        object.__setattr__(self, "about", about)
        object.__setattr__(self, "_sums", sums)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Series does not change: {name}")

    def __len__(self) -> int:
        return len(self.times_s)

    def __repr__(self) -> str:
        return f"Series({self.about.name} {self.about.unit}, {len(self)} steps)"

    @classmethod
    def constant(cls, value: float, about: About) -> Series:
        """The same value at every instant.

        >>> Series.constant(31.3, About("carbon", "g/kWh")).value_at(1_700_000_000)
        31.3
        """
        return cls([ALWAYS_S], [value], about)

    def value_at(self, at_s: float) -> float:
        """The value that holds at an instant. O(log n). Raises OutOfRange before the first instant.

        >>> Series([0, 10], [1.0, 3.0], About("x", "kW")).value_at(10)
        3.0
        """
        return float(self.values[self._step(at_s)])

    def values_at(self, at_s: Any) -> Floats:
        """`value_at` for an array of instants."""
        instants = np.asarray(at_s)
        if instants.size and instants.min() < self.times_s[0]:
            raise self._too_early(float(instants.min()))
        return self.values[np.searchsorted(self.times_s, instants, side="right") - 1]

    def integral(self, from_s: float, to_s: float) -> float:
        """Value x seconds over [from_s, to_s). O(log n); exact up to rounding of float64.

        Both ends may be fractions of a second. Within one step it is one product, so short spans
        lose nothing to the size of the sums. Raises OutOfRange where to_s < from_s or from_s is
        before the first instant.

        >>> Series([0, 10], [1.0, 3.0], About("x", "kW")).integral(4, 12)  # 6 x 1 + 2 x 3
        12.0
        """
        if to_s < from_s:
            raise OutOfRange(f"{self.about.name}: the span ends at {to_s} before it starts at {from_s}")
        first, last = self._step(from_s), self._step(to_s)
        if first == last:
            return float(self.values[first] * (to_s - from_s))
        head = self.values[first] * (self.times_s[first + 1] - from_s)
        tail = self.values[last] * (to_s - self.times_s[last])
        return float(head + (self._sums[last] - self._sums[first + 1]) + tail)

    def mean(self, from_s: float, to_s: float) -> float:
        """The time-weighted mean over [from_s, to_s); of an empty span the value at that instant."""
        if to_s == from_s:
            return self.value_at(from_s)
        return self.integral(from_s, to_s) / (to_s - from_s)

    def map(self, function: Callable[[Floats], Floats], about: About) -> Series:
        """Another quantity at the same instants; `function` takes and gives a whole array."""
        return Series(self.times_s, function(self.values), about)

    def times(self, other: Series, about: About) -> Series:
        """The product, on the instants of both, from where both have a value.

        >>> a = Series([0, 10], [1.0, 2.0], About("a", "1"))
        >>> b = Series([5, 20], [10.0, 20.0], About("b", "g"))
        >>> [float(v) for v in a.times(b, About("ab", "g")).values]
        [10.0, 20.0, 40.0]
        """
        if np.array_equal(self.times_s, other.times_s):
            return Series(self.times_s, self.values * other.values, about)
        start = max(self.times_s[0], other.times_s[0])
        instants = np.union1d(self.times_s, other.times_s)
        instants = instants[instants >= start]
        return Series(instants, self.values_at(instants) * other.values_at(instants), about)

    def _step(self, at_s: float) -> int:
        # whole seconds, so that the search stays in int64: a float would copy the whole array
        index = int(np.searchsorted(self.times_s, floor(at_s), side="right")) - 1
        if index < 0:
            raise self._too_early(at_s)
        return index

    def _too_early(self, at_s: float) -> OutOfRange:
        first = _instant(self.times_s[0])
        return OutOfRange(f"{self.about.name}: no value at {_instant(at_s)}; the series starts at {first}")


def fill_gaps(times_s: Any, values: Any) -> tuple[Floats, int]:
    """Values without NaN, and how many were filled.

    The rule: a missing value is read off the straight line between the nearest known neighbours;
    at an end the nearest known value holds. Raises Invalid where nothing is known.

    >>> filled, count = fill_gaps([0, 1, 2, 3], [1.0, float("nan"), 3.0, float("nan")])
    >>> [float(v) for v in filled], count
    ([1.0, 2.0, 3.0, 3.0], 2)
    """
    instants = np.asarray(times_s, dtype=np.float64)
    filled = np.array(values, dtype=np.float64)
    missing = np.isnan(filled)
    if missing.all():
        raise Invalid("every value is missing: there is nothing to fill the gaps from")
    filled[missing] = np.interp(instants[missing], instants[~missing], filled[~missing])
    return filled, int(missing.sum())


def _frozen(values: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A copy that cannot be written; what is such an array already is shared, so that years of hours
    stand in memory once."""
    whole = isinstance(values, np.ndarray) and values.base is None and not values.flags.writeable
    if whole and values.dtype == dtype:
        return cast(NDArray[Any], values)
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _check(times: Instants, steps: Floats, name: str) -> None:
    if times.ndim != 1 or times.shape != steps.shape or times.size == 0:
        raise Invalid(f"{name}: a series needs as many values as instants, at least one")
    backward = np.flatnonzero(np.diff(times) <= 0)
    if backward.size:
        at = int(backward[0]) + 1
        raise Invalid(f"{name}: instants must grow; number {at} ({_instant(times[at])}) does not")
    broken = np.flatnonzero(~np.isfinite(steps))
    if broken.size:
        first = _instant(times[broken[0]])
        raise Invalid(
            f"{name}: {broken.size} of {steps.size} values are not finite, the first at {first}; "
            "fill gaps before (see fill_gaps)"
        )


def _instant(at_s: Any) -> str:
    return f"{np.datetime64(int(at_s), 's')}Z"
