"""What the page says, in words, and where the map puts it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maillage.interfaces.console import outline
from maillage.interfaces.console.picture import Meter, age_in_words, picture, power_in_words
from tests.unit.stub_service import StubService, job

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def site(name: str, lat: float, lon: float, free: int = 4) -> dict[str, Any]:
    pool = {"units_total": 8, "units_free": free, "accelerator": "cpu", "id": "cpu"}
    return {"id": name, "place": {"lat": lat, "lon": lon}, "state": "open", "pools": [pool]}


def test_the_outline_is_one_small_closed_path_on_the_picture() -> None:
    path = outline.outline()
    points = [tuple(map(float, pair.split(","))) for pair in re.findall(r"-?[\d.]+,-?[\d.]+", path)]
    assert 100 <= len(points) <= 200 and path.count("Z") == 2
    assert all(0 <= x <= outline.WIDTH and 0 <= y <= outline.HEIGHT for x, y in points)


def test_north_is_up_and_east_is_right() -> None:
    lille, marseille, brest = (outline.project(*p) for p in ((50.6, 3.1), (43.3, 5.4), (48.4, -4.5)))
    assert lille[1] < marseille[1] and brest[0] < lille[0] < marseille[0]


def test_labels_of_close_sites_do_not_cover_each_other() -> None:
    close = [site("paris", 48.86, 2.35), site("fouju", 48.58, 2.78), site("mulhouse", 47.75, 7.34)]
    marks = outline.markers(close)
    boxes = []
    for mark in marks:
        wide = 7.8 * len(mark.id)
        left = {"start": mark.label_x, "end": mark.label_x - wide, "middle": mark.label_x - wide / 2}[
            mark.anchor
        ]
        assert left >= 0 and left + wide <= outline.WIDTH
        boxes.append((left, mark.label_y - 10, left + wide, mark.label_y + 3))
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_site_elsewhere_is_not_put_into_the_sea() -> None:
    assert outline.markers([site("oslo", 59.9, 10.7), {"id": "nowhere", "pools": []}]) == []


def test_the_ring_is_what_is_held() -> None:
    (mark,) = outline.markers([site("paris", 48.86, 2.35, free=2)])
    assert mark.share == 0.75 and mark.held == pytest.approx(0.75 * mark.ring, abs=0.01)


@pytest.mark.parametrize(
    ("power_kw", "words"),
    [(0, "0 W"), (0.0004, "0 W"), (0.0517, "52 W"), (0.9994, "999 W"), (1, "1 kW"), (12.34, "12.3 kW"),
     (999.4, "999 kW"), (1000, "1 MW"), (240_000, "240 MW"), (3_000_000, "3 000 MW")],
)  # fmt: skip
def test_power_in_words(power_kw: float, words: str) -> None:
    assert " ".join(power_in_words(power_kw)).replace(" ", " ") == words


@pytest.mark.parametrize(
    ("instant", "words"),
    [(None, ""), ("2025-12-31T23:59:30.000Z", "30 s"), ("2025-12-31T23:00:00.000Z", "1 h"),
     ("2025-12-30T00:00:00.000Z", "2 d"), ("2026-01-01T00:00:05.000Z", "0 s")],
)  # fmt: skip
def test_age_in_words(instant: str | None, words: str) -> None:
    assert age_in_words(instant, NOW) == words


def test_a_meter_stays_in_its_bar() -> None:
    assert [Meter("", share).width for share in (-1.0, 0.5, 2.0)] == [0.0, 50.0, 100.0]
    assert [Meter("", share).level for share in (0.1, 0.8, 1.2)] == ["calm", "busy", "full"]


async def test_the_picture_of_one_project_holds_nothing_of_another(tmp_path: Path) -> None:
    service = StubService(tmp_path)
    service.kept["jfail"] = job("jfail", "own", "failed") | {"reason": "out_of_memory"}
    shown = await picture(service, {"own"})
    assert {row.project for row in shown.jobs} == {"own"} and [e.project for e in shown.endpoints] == ["own"]
    assert next(row.what for row in shown.jobs if row.id == "jfail") == "out of memory"
    assert shown.counts == (("running", 1), ("pending", 2)) and len(shown.sites) == 2
    everything = await picture(service, None)
    assert {row.project for row in everything.jobs} == {"own", "other"}


async def test_an_empty_network_has_a_picture(tmp_path: Path) -> None:
    service = StubService(tmp_path)
    service.kept, service.deployed, service.site_ids = {}, {}, ()
    shown = await picture(service, None)
    assert shown.jobs == () and shown.sites == () and len(shown.tiles) == 5
