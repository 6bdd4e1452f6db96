"""The map of the page: France's outline and the sites on it, in the units of one SVG viewBox.

Outline: IGN Admin Express (Licence Ouverte), simplified to 182 points in `france.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

WIDTH, HEIGHT = 440.0, 430.0
_MARGIN = 14.0
_WEST, _EAST, _SOUTH, _NORTH = -4.9, 9.6, 41.3, 51.15
_SHRINK = math.cos(math.radians((_SOUTH + _NORTH) / 2))  # a degree of longitude against one of latitude
_SCALE = min((WIDTH - 2 * _MARGIN) / ((_EAST - _WEST) * _SHRINK), (HEIGHT - 2 * _MARGIN) / (_NORTH - _SOUTH))
_Box = tuple[float, float, float, float]  # left, top, right, bottom
_RING = 11.0
_LETTER = 7.8  # a letter's width at the label's size, for keeping labels apart
_LINE = 14.0


@dataclass(frozen=True, slots=True)
class Marker:
    """A site on the map: `share` of its units is held; the label stands where it covers no other."""

    id: str
    state: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str
    share: float
    held: float  # length of the ring's held part
    ring: float  # length of the whole ring


def project(lat: float, lon: float) -> tuple[float, float]:
    """Degrees to the viewBox, x to the right and y down."""
    x = _MARGIN + (lon - _WEST) * _SHRINK * _SCALE
    y = _MARGIN + (_NORTH - lat) * _SCALE
    return round(x, 1), round(y, 1)


@cache
def outline() -> str:
    """The `d` of one SVG path."""
    rings = json.loads(files(__package__).joinpath("france.json").read_text())["rings"]
    return " ".join(
        "M" + " L".join("{:g},{:g}".format(*project(lat, lon)) for lon, lat in ring) + " Z" for ring in rings
    )


def markers(sites: Sequence[Mapping[str, Any]]) -> list[Marker]:
    """Sites that lie on the map; the others are in the list beside it only."""
    taken: list[_Box] = []
    spots = []
    for site in sites:
        place = site.get("place") or {}
        lat, lon = place.get("lat"), place.get("lon")
        if lat is None or lon is None or not (_SOUTH <= lat <= _NORTH and _WEST <= lon <= _EAST):
            continue
        x, y = project(lat, lon)
        spots.append((site, x, y))
        taken.append((x - _RING, y - _RING, x + _RING, y + _RING))
    return [_marker(site, x, y, taken) for site, x, y in spots]


def _marker(site: Mapping[str, Any], x: float, y: float, taken: list[_Box]) -> Marker:
    pools = site.get("pools") or ()
    total = sum(pool.get("units_total") or 0 for pool in pools)
    free = sum(pool.get("units_free") or 0 for pool in pools)
    share = (total - free) / total if total else 0.0
    length = 2 * math.pi * _RING
    name = str(site["id"])
    label_x, label_y, anchor = _label(name, x, y, taken)
    return Marker(
        id=name,
        state=str(site.get("state", "")),
        x=x,
        y=y,
        label_x=round(label_x, 1),
        label_y=round(label_y, 1),
        anchor=anchor,
        share=share,
        held=round(length * min(max(share, 0.0), 1.0), 2),
        ring=round(length, 2),
    )


def _label(name: str, x: float, y: float, taken: list[_Box]) -> tuple[float, float, str]:
    """Right, left, below or above the ring: the first place that is free and on the map."""
    wide, gap = len(name) * _LETTER, _RING + 6
    places = (
        (x + gap, y + 4, "start", x + gap),
        (x - gap, y + 4, "end", x - gap - wide),
        (x, y + gap + 9, "middle", x - wide / 2),
        (x, y - gap - 1, "middle", x - wide / 2),
    )

    def box(place: tuple[float, float, str, float]) -> _Box:
        _, bottom, _, left = place
        return left, bottom - _LINE + 3, left + wide, bottom + 3

    def free(place: tuple[float, float, str, float]) -> bool:
        left, _, right, _ = box(place)
        return left >= 2 and right <= WIDTH - 2 and not any(_overlap(box(place), other) for other in taken)

    chosen = next(filter(free, places), places[0])
    taken.append(box(chosen))
    return chosen[:3]


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
