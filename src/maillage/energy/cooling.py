"""Cooling: the PUE of a campus as a curve over outdoor temperature.

Dry cooling: fans push outdoor air through a dry cooler; no water is evaporated. Two loops: most heat
leaves the chips in liquid at the supply temperature, the rest goes into room air, whose coils need
water of at most 27 C. Above the temperature at which full fans still reject a loop's heat, a trim
chiller takes what is left.

Formulas and constants (docs/explanation/energy.md#facility):
- dry cooler: cross-flow effectiveness, both fluids unmixed, hA_air ~ speed^0.8, fan power ~ speed^3
  (the form of the Modelica Buildings library's DryCooler), full water flow;
- its size: record of BAC TDFS1238N, 2,931 kW at 35.0 C air, coolant 46.11 -> 40.55 C, fans 117.68 kW;
- trim chiller: a share of the Carnot cycle, COP = min(0.47 Te / (Tc - Te), 12) in kelvin, Te two below
  supply, Tc twelve above outdoor air;
- shares: liquid 0.87, pumps 1.2 %, room-air fans 4 % of the heat in air, miscellaneous 0.5 %, lowest fan
  speed 0.3, air loop 27 C (assumptions).
The PUE of this first form does not depend on load: every part is sized to the load it carries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import exp

import numpy as np

from maillage.energy.grid import Chain, drawn_per_it
from maillage.errors import Invalid, OutOfRange
from maillage.series import Floats

RATED_KW = 2931.0  # BAC TDFS1238N
RATED_FAN_KW = 117.68  # BAC TDFS1238N
CAPACITY_KW_PER_K = 527.0  # 2,931 kW / (46.11 - 40.55) K: water, and air at full fans
UA_KW_PER_K = 607.5  # NTU 1.152 at the rated point, effectiveness 0.5005
AIR_TO_WATER = 0.5  # hA of the air side over hA of the water side at the rated point
LOWEST_SPEED = 0.3  # assumption: fans do not turn slower
CARNOT_SHARE, COP_MOST = 0.47, 12.0
EVAPORATOR_BELOW_K, CONDENSER_ABOVE_K = 2.0, 12.0
LIQUID_SHARE = 0.87  # assumption
AIR_LOOP_C = 27.0  # assumption: warmest water that still cools room air
PUMPS, ROOM_AIR, MISCELLANEOUS = 0.012, 0.04, 0.005  # assumptions
KELVIN = 273.15
COLDEST_C, HOTTEST_C = -30, 55  # the curve's ends; the end values hold outside


@dataclass(frozen=True, slots=True)
class PueCurve:
    """PUE over outdoor dry bulb in C: points (C, PUE) by rising temperature, straight in between."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        cold_to_hot = [outdoor_c for outdoor_c, _ in self.points]
        if not self.points or cold_to_hot != sorted(set(cold_to_hot)):
            raise OutOfRange("a PUE curve needs points by rising temperature, each temperature once")
        if any(not pue >= 1.0 for _, pue in self.points):
            raise OutOfRange("a PUE below 1 would be a campus that draws less than its IT")

    def pue(self, outdoor_c: Floats) -> Floats:
        """PUE for an array of temperatures; the end values hold outside the curve."""
        temperatures, values = zip(*self.points, strict=True)
        return np.asarray(np.interp(outdoor_c, temperatures, values), dtype=np.float64)


def facility_power_kw(it_power_kw: float, outdoor_c: float, curve: PueCurve) -> float:
    """Power drawn by the site at its meter, cooling included, in kW.

    PUE is interpolated over outdoor temperature; the end values hold outside the curve.
    Raises OutOfRange if it_power_kw < 0.

    >>> facility_power_kw(1000.0, 10.0, PueCurve(((0.0, 1.10), (20.0, 1.20))))
    1150.0
    """
    if not it_power_kw >= 0.0:
        raise OutOfRange(f"IT power {it_power_kw} kW: 0 or more")
    return it_power_kw * float(curve.pue(np.array([outdoor_c]))[0])


def it_headroom_kw(limit_kw: float, outdoor_c: float, curve: PueCurve) -> float:
    """IT power that fits under a limit at the facility's meter, in kW. Raises OutOfRange if limit_kw < 0.

    >>> round(it_headroom_kw(1150.0, 10.0, PueCurve(((0.0, 1.10), (20.0, 1.20)))), 6)
    1000.0
    """
    if not limit_kw >= 0.0:
        raise OutOfRange(f"limit {limit_kw} kW: 0 or more")
    return limit_kw / facility_power_kw(1.0, outdoor_c, curve)


@lru_cache(maxsize=64)
def pue_curve(kind: str, supply_c: float, chain: Chain = Chain()) -> PueCurve:
    """The PUE of a campus over outdoor air, by whole degrees. `supply_c`: coolant sent to the racks.

    `kind`: `dry` (above), or `chiller`: the same loops with no dry cooler, all heat through the
    chiller, with the fans of its condenser at their rated power (assumption).
    Raises OutOfRange where supply_c is not within 5 to 60 C, Invalid for an unknown kind.

    >>> curve = pue_curve("dry", 40.0)
    >>> [round(facility_power_kw(1.0, outdoor_c, curve), 3) for outdoor_c in (0.0, 20.0, 30.0, 40.0)]
    [1.064, 1.066, 1.086, 1.17]
    >>> round(facility_power_kw(1.0, 20.0, pue_curve("chiller", 18.0)), 3)
    1.221
    """
    if kind not in _REJECTION:
        raise Invalid(f"no cooling {kind!r}; known: {', '.join(_REJECTION)}")
    if not 5.0 <= supply_c <= 60.0:
        raise OutOfRange(f"supply temperature {supply_c} C: cooling is modelled from 5 to 60 C")
    rejection = _REJECTION[kind]
    points = []
    for outdoor_c in range(COLDEST_C, HOTTEST_C + 1):
        liquid = LIQUID_SHARE * rejection(outdoor_c, supply_c)
        air = (1.0 - LIQUID_SHARE) * rejection(outdoor_c, min(supply_c, AIR_LOOP_C))
        room_air = ROOM_AIR * (1.0 - LIQUID_SHARE)
        mechanical = liquid + air + room_air + PUMPS + MISCELLANEOUS
        points.append((float(outdoor_c), drawn_per_it(chain, mechanical)))
    return PueCurve(tuple(points))


def chiller_per_heat(outdoor_c: float, supply_c: float) -> float:
    """Chiller and condenser fan power where a chiller takes all heat of a loop, kW per kW.

    >>> round(chiller_per_heat(20.0, 18.0), 3)  # 16 -> 32 C, COP 8.5
    0.158
    """
    return RATED_FAN_KW / RATED_KW + 1.0 / _chiller_cop(supply_c, outdoor_c)


def dry_per_heat(outdoor_c: float, supply_c: float) -> float:
    """Fan and chiller power per heat rejected from a loop supplied at `supply_c`, kW per kW.

    At the rated point the fans just do it: 117.68 / 2,931 = 4.02 %.

    >>> round(dry_per_heat(35.0, 40.55), 3)
    0.04
    """
    return_c = supply_c + RATED_KW / CAPACITY_KW_PER_K
    full_kw = max(0.0, _dry_cooler_kw(1.0, return_c, outdoor_c))
    full_fans = RATED_FAN_KW / RATED_KW
    if full_kw < RATED_KW:
        left = 1.0 - full_kw / RATED_KW
        return full_fans + left / _chiller_cop(supply_c, outdoor_c)
    slow, fast = LOWEST_SPEED, 1.0
    if _dry_cooler_kw(slow, return_c, outdoor_c) >= RATED_KW:
        return float(full_fans * slow**3)
    while fast - slow > 1e-6:  # rejection grows with speed, so halving finds the slowest that is enough
        middle = (slow + fast) / 2
        if _dry_cooler_kw(middle, return_c, outdoor_c) < RATED_KW:
            slow = middle
        else:
            fast = middle
    return float(full_fans * fast**3)


def _dry_cooler_kw(speed: float, return_c: float, outdoor_c: float) -> float:
    """Heat rejected at a fan speed (share of full, above 0), negative where the air is warmer."""
    air_kw_per_k = CAPACITY_KW_PER_K * speed
    ratio = min(1.0, speed)
    resistance = (1.0 / AIR_TO_WATER * speed**-0.8 + 1.0) / (1.0 / AIR_TO_WATER + 1.0)
    ntu = UA_KW_PER_K / resistance / air_kw_per_k
    effectiveness = 1.0 - exp(ntu**0.22 / ratio * (exp(-ratio * ntu**0.78) - 1.0))
    return float(effectiveness * air_kw_per_k * (return_c - outdoor_c))


def _chiller_cop(supply_c: float, outdoor_c: float) -> float:
    evaporator_k = supply_c - EVAPORATOR_BELOW_K + KELVIN
    lift_k = outdoor_c + CONDENSER_ABOVE_K + KELVIN - evaporator_k
    return COP_MOST if lift_k <= 0.0 else min(CARNOT_SHARE * evaporator_k / lift_k, COP_MOST)


_REJECTION: dict[str, Callable[[float, float], float]] = {"dry": dry_per_heat, "chiller": chiller_per_heat}
