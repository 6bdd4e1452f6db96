"""A recorded year of the French grid and weather, replayed on any year: signals with no network.

The year 2024 ships as `data/fr_2024.npz`, 79 kB: .npz and not Parquet, because reading it needs only
NumPy, which whoever has signals has loaded already; importing PyArrow (70 ms of CPU) would cost more
than all the rest. `tools/make_recorded_year.py` made it; `data/README.md` and `docs/data-licences.md`
say from what.

How 2024 is projected on another year: every hour takes the value of the same month, day and hour
**in UTC**. All is in UTC, so no hour is doubled or missing when clocks change; what follows people's
clocks (prices, mostly) is one hour off on the few days between two years' changes of clock. In a year
without 29 February that day is left out. Days of the week are not aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import asin, cos, radians, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from maillage.errors import Invalid
from maillage.series import About, Series, fill_gaps

YEAR = 2024
YEARS = (2024, 2035)  # first and last year the record is projected on where nothing else is asked
MISSING = np.iinfo(np.int32).min  # "not recorded" in the file, which holds whole hundredths
ZONES = ("FR",)
FARTHEST_KM = 600.0  # assumption: weather from farther away is not this site's (Brest to Paris: 505 km)
_FEBRUARY_29 = slice(59 * 24, 60 * 24)  # hours of that day in a leap year
_EARTH_RADIUS_KM = 6371.0

ELECTRICITY_MAPS = (
    "Electricity Maps (2025). FR 2021-2024 hourly Carbon Intensity Data (Version January 27, 2025), ODbL"
)
ENTSO_E = "ENTSO-E Transparency Platform, through HewlettPackard/green-dcc"
OPEN_METEO = "Open-Meteo.com, CC BY 4.0"


@dataclass(frozen=True, slots=True)
class Place:
    """Where weather was recorded, in degrees."""

    name: str
    lat: float
    lon: float


PLACES = (
    Place("paris", 48.857, 2.352),
    Place("marseille", 43.297, 5.370),
    Place("strasbourg", 48.573, 7.752),  # stands in for Mulhouse, 95 km to the south
)


@dataclass(frozen=True, slots=True)
class Signals:
    """What a site's grid and sky do: carbon in g/kWh, price in EUR/MWh, outdoor dry bulb in C."""

    carbon: Series
    price: Series
    outdoor: Series


def signals(zone: str, lat: float, lon: float, years: tuple[int, int] = YEARS) -> Signals:
    """The recorded year as the signals of a site in grid `zone` at (lat, lon) degrees.

    The series cover `years` (first, last), at most 200 of them; the last value holds onward. Raises Invalid
    for a zone that is not recorded and for a place far from every recorded weather.
    """
    return Signals(carbon(zone, years), price(zone, years), outdoor(lat, lon, years))


def carbon(zone: str, years: tuple[int, int] = YEARS) -> Series:
    """Life-cycle carbon intensity of the electricity consumed in `zone`, g/kWh. See `signals`."""
    return _projected(_column("carbon", zone), years)


def price(zone: str, years: tuple[int, int] = YEARS) -> Series:
    """Day-ahead price of `zone`, EUR/MWh, negative in some hours. See `signals`."""
    return _projected(_column("price", zone), years)


def outdoor(lat: float, lon: float, years: tuple[int, int] = YEARS) -> Series:
    """Dry bulb temperature in C at the nearest recorded place. See `signals`."""
    place, distance_km = nearest_place(lat, lon)
    if distance_km > FARTHEST_KM:
        known = ", ".join(p.name for p in PLACES)
        raise Invalid(
            f"no recorded weather near ({lat}, {lon}): the nearest, {place.name}, "
            f"is {distance_km:.0f} km away (recorded: {known}); "
            "give the site's outdoor_c as a number or a file"
        )
    return _projected(f"outdoor_{place.name}", years)


def nearest_place(lat: float, lon: float) -> tuple[Place, float]:
    """The nearest recorded place and how far it is, in km along the great circle.

    >>> place, distance_km = nearest_place(47.75, 7.34)  # Mulhouse
    >>> place.name, round(distance_km)
    ('strasbourg', 96)
    """
    return min(((place, _distance_km(lat, lon, place)) for place in PLACES), key=lambda pair: pair[1])


def _distance_km(lat: float, lon: float, place: Place) -> float:
    """Haversine formula on a sphere."""
    north, south = radians(lat), radians(place.lat)
    half = sin((north - south) / 2) ** 2
    half += cos(north) * cos(south) * sin(radians(lon - place.lon) / 2) ** 2
    return 2 * _EARTH_RADIUS_KM * asin(sqrt(min(1.0, half)))


def _column(kind: str, zone: str) -> str:
    if zone.upper() not in ZONES:
        raise Invalid(
            f"no recorded {kind} for grid zone {zone!r}; recorded: {', '.join(ZONES)}; "
            f"give the site's {kind} as a number or a file"
        )
    return f"{kind}_{zone.lower()}"


_GAPS = "missing hours on the straight line between their neighbours, at an end the nearest"
_ABOUT = {
    "carbon": ("g/kWh", "average, flow-traced consumption", "life cycle (gCO2e)", ELECTRICITY_MAPS),
    "price": ("EUR/MWh", f"day-ahead auction; {_GAPS}", "bidding zone FR", ENTSO_E),
    "outdoor": ("C", "weather model output, dry bulb at 2 m", "at the recorded place", OPEN_METEO),
}


@lru_cache(maxsize=32)
def _projected(column: str, years: tuple[int, int]) -> Series:
    first, last = years
    if not (1900 <= first <= last < first + 200 <= 2400):
        raise Invalid(
            f"years {first} to {last}: needs the first and the last of at most 200 years, 1900 to 2200"
        )
    values, repaired = _recorded(column)
    plain = np.delete(values, _FEBRUARY_29)
    steps = np.concatenate([values if _is_leap(year) else plain for year in range(first, last + 1)])
    unit, method, boundary, source = _ABOUT[column.split("_")[0]]
    about = About(column, unit, method, boundary, source, f"{YEAR} replayed on {first} to {last}", repaired)
    return Series(_hours(first, len(steps)), steps, about)


@lru_cache(maxsize=8)
def _hours(first_year: int, count: int) -> NDArray[np.int64]:
    """`count` hours from the start of a year, in UTC; every series of the same years shares them."""
    start_s = np.datetime64(f"{first_year}-01-01", "s").astype(np.int64)
    hours: NDArray[np.int64] = np.arange(count, dtype=np.int64)
    hours *= 3600
    hours += start_s
    hours.flags.writeable = False
    return hours


def _recorded(column: str) -> tuple[NDArray[np.float64], int]:
    """The recorded year hour by hour in UTC, gaps filled, and how many hours were filled."""
    file = resources.files("maillage.feeds") / "data" / f"fr_{YEAR}.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        hundredths = archive[column]
    values = np.where(hundredths == MISSING, np.nan, hundredths / 100)
    return fill_gaps(np.arange(len(values)), values)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
