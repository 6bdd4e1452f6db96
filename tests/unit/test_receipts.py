"""Receipts, and the same figures by brute force: hour by hour, from the packaged file itself."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from maillage.accounts.usage import Interval
from maillage.control.receipts import HeldRun, quote, receipt
from maillage.energy.cooling import facility_power_kw, pue_curve
from maillage.energy.hours import site_hours
from maillage.feeds.sites import recorded_feeds
from maillage.network.model import Cooling, Grid, Network, Place, Pool, Site
from maillage.series import About, Series
from maillage.workloads.lifecycle import EndReason

SUPPLY_C = 32.0


def site(name, lat, lon, zone="FR"):
    pools = (
        Pool(name, "cpu", "cpu", 2, 0, 8, 32.0, 2, price_credit_micros=10_000),
        Pool(name, "h100", "H100", 4, 8, 96, 1024.0, 2, price_credit_micros=1_000_000),
    )
    return Site(name, Place(lat, lon, "FR"), Grid(zone, 1.0), Cooling("dry", SUPPLY_C), pools)


NETWORK = Network(
    "n", (site("paris", 48.86, 2.35), site("marseille", 43.3, 5.37), site("mulhouse", 47.75, 7.34))
)
HOURS = recorded_feeds(NETWORK).hours


def ms(*instant, plus_ms=0):
    return int(datetime(*instant, tzinfo=UTC).timestamp()) * 1000 + plus_ms


def brute_force(site_id, from_ms, to_ms, it_kw):
    """kWh of IT, kWh of the facility, gCO2e, EUR: piece by piece of each hour, from the packaged arrays."""
    archive = np.load((resources.files("maillage.feeds") / "data" / "fr_2024.npz").open("rb"))
    weather = {"paris": "paris", "marseille": "marseille", "mulhouse": "strasbourg"}[site_id]
    curve = pue_curve("dry", SUPPLY_C)
    it_kwh = facility_kwh = carbon_g = cost_eur = 0.0
    at = from_ms
    while at < to_ms:
        until = min(to_ms, (at // 3_600_000 + 1) * 3_600_000)
        hour = datetime.fromtimestamp(at // 1000, UTC)
        same = datetime(2024, hour.month, hour.day, hour.hour, tzinfo=UTC)
        row = int((same - datetime(2024, 1, 1, tzinfo=UTC)).total_seconds()) // 3600
        carbon, price, outdoor_c = (
            int(archive[name][row]) / 100 for name in ("carbon_fr", "price_fr", f"outdoor_{weather}")
        )
        span_h = (until - at) / 3_600_000
        kwh = facility_power_kw(it_kw, outdoor_c, curve) * span_h
        it_kwh += it_kw * span_h
        facility_kwh += kwh
        carbon_g += kwh * carbon
        cost_eur += kwh * price / 1000
        at = until
    return it_kwh, facility_kwh, carbon_g, cost_eur


# attempt 1 is lost with its site, over the end of February in a common year; attempt 2 spans a clock change
LOST = HeldRun(
    attempt=1,
    site="paris",
    pool="cpu",
    started_at_ms=ms(2026, 2, 28, 21, 17, plus_ms=250),
    ended_at_ms=ms(2026, 3, 1, 2, 5, 3),
    units=2,
    reason=EndReason.SITE_LOST,
    metered_cpu_s=21_000.5,
    why_here="paris is free first",
)
DONE = HeldRun(
    attempt=2,
    site="mulhouse",
    pool="h100",
    started_at_ms=ms(2026, 3, 28, 12, 0, 1),
    ended_at_ms=ms(2026, 3, 31, 7, 59, 59, plus_ms=999),
    units=16,
    reason=EndReason.SUCCEEDED,
    metered_cpu_s=500.0,
    why_here="cleanest of 2 sites",
)
SUBMITTED_MS = ms(2026, 2, 28, 21, 15)


def made(*runs, hours=HOURS, network=NETWORK, now_ms=ms(2026, 6, 1)):
    return receipt(SUBMITTED_MS, runs, network, hours, now_ms)


def test_a_receipt_is_what_brute_force_finds_hour_by_hour():
    bill = made(LOST, DONE)
    lost_s = (LOST.ended_at_ms - LOST.started_at_ms) / 1000
    cpu_kw = (2 * 1.5 + 21_000.5 / lost_s * 4.5) / 1000  # idle of two CPUs, and what the meter saw above it
    gpu_kw = 16 * (70 + 2800 / 8 + 0.87 * 630) / 1000  # idle, a share of the node, 87 % of the rest
    expected = [
        brute_force("paris", LOST.started_at_ms, LOST.ended_at_ms, cpu_kw),
        brute_force("mulhouse", DONE.started_at_ms, DONE.ended_at_ms, gpu_kw),
    ]
    keys = ("energy_it_kwh", "energy_kwh", "carbon_g", "electricity_eur")
    for stay, figures in zip(bill["sites"], expected, strict=True):
        assert [stay[key] for key in keys] == pytest.approx(figures, rel=1e-9)
    assert [bill[key] for key in keys] == pytest.approx(
        [sum(both) for both in zip(*expected, strict=True)], rel=1e-9
    )
    assert 1.05 < bill["energy_kwh"] / bill["energy_it_kwh"] < 1.3


def test_credits_are_whole_and_a_lost_site_is_not_charged():
    bill = made(LOST, DONE)
    held_ms = DONE.ended_at_ms - DONE.started_at_ms
    assert (
        bill["credits_micros"] == 16 * held_ms * 1_000_000 // 3_600_000 == bill["sites"][1]["credits_micros"]
    )
    assert bill["sites"][0]["credits_micros"] == 0 and not bill["sites"][0]["charged"]
    assert bill["waived_credits_micros"] == 2 * (LOST.ended_at_ms - LOST.started_at_ms) * 10_000 // 3_600_000
    assert bill["sites"][0]["energy_kwh"] > 0  # it was drawn all the same
    assert bill["accelerator_s"] == pytest.approx(sum(stay["accelerator_s"] for stay in bill["sites"]))


def test_stays_add_up_to_the_total_to_the_micro_credit():
    cuts = [DONE.started_at_ms + i * 1_234_567 for i in range(8)]
    runs = [replace(DONE, started_at_ms=a, ended_at_ms=b) for a, b in pairwise(cuts)]
    bill = made(*runs)
    whole = made(replace(DONE, started_at_ms=runs[0].started_at_ms, ended_at_ms=runs[-1].ended_at_ms))
    assert (
        sum(stay["credits_micros"] for stay in bill["sites"])
        == bill["credits_micros"]
        == whole["credits_micros"]
    )
    assert bill["energy_kwh"] == pytest.approx(whole["energy_kwh"], rel=1e-12)
    assert bill["carbon_g"] == pytest.approx(whole["carbon_g"], rel=1e-12)


def test_what_a_receipt_says_beside_its_figures():
    bill = made(LOST, DONE)
    assert bill["wait_s"] == 120.25 and bill["final"] and bill["notes"] == []
    first, second = bill["sites"]
    assert (first["site"], first["why_here"], first["reason"]) == (
        "paris",
        "paris is free first",
        "site_lost",
    )
    assert (first["from"], second["to"]) == ("2026-02-28T21:17:00.250Z", "2026-03-31T07:59:59.999Z")
    assert (first["accelerator"], first["units"], second["accelerator"], second["units"]) == (
        "cpu",
        2,
        "H100",
        16,
    )
    assert bill["cpu_s"] == 21_500.5
    assert first["unit_watts"] == {"idle_w": 1.5, "peak_w": 6.0, "overhead_w": 0.0}
    assert bill["signals"]["price"]["repaired"] == 2
    assert first["energy_method"] == "measured cpu time, modelled watts"
    assert second["energy_method"] == "held units at 87% utilisation (assumed), modelled watts"
    carbon = bill["signals"]["carbon"]
    assert carbon["vintage"] == "2024 replayed on 2024 to 2035" and "Electricity Maps" in carbon["source"]
    assert (
        carbon["unit"] == "g/kWh" and "life cycle" in carbon["boundary"] and "consumption" in carbon["method"]
    )
    assert bill["signals"]["outdoor"]["name"] == "outdoor_paris; outdoor_strasbourg"
    assert json.loads(json.dumps(bill)) == bill


def test_a_job_that_never_started_has_an_empty_receipt():
    returned = HeldRun(1, "paris", "cpu", 0, ms(2026, 3, 1), 2, EndReason.RETURNED)
    for bill in (made(), made(returned)):
        assert (bill["sites"], bill["wait_s"], bill["credits_micros"]) == ([], None, 0)
        assert (bill["energy_kwh"], bill["carbon_g"], bill["accelerator_s"]) == (0.0, 0.0, 0.0)


def test_a_living_run_is_counted_until_now():
    alive = replace(LOST, ended_at_ms=0, reason=None)
    now_ms = LOST.started_at_ms + 60_000
    bill = made(alive, now_ms=now_ms)
    assert (
        bill["accelerator_s"] == 120
        and not bill["final"]
        and bill["credits_micros"] == 2 * 60_000 * 10_000 // 3_600_000
    )
    assert bill["sites"][0]["to"] == "2026-02-28T21:18:00.250Z" and bill["sites"][0]["reason"] is None


def test_a_site_without_signals_has_no_energy_and_then_no_total_either():
    paris_alone = {"paris": HOURS["paris"]}
    bill = made(LOST, DONE, hours=paris_alone)
    assert bill["sites"][0]["energy_kwh"] > 0
    assert bill["sites"][1]["energy_kwh"] is bill["energy_kwh"] is bill["carbon_g"] is None
    assert bill["notes"] == ["attempt 2: no carbon, price and weather known for site mulhouse"]
    assert bill["credits_micros"] == made(LOST, DONE)["credits_micros"]


def test_bad_luck_gets_a_note_and_never_a_crash():
    backward = made(replace(DONE, ended_at_ms=DONE.started_at_ms - 1))
    assert backward["credits_micros"] == 0 and backward["energy_kwh"] == 0
    assert "ended before it started" in backward["notes"][0]
    gone = made(replace(LOST, pool="gone"))
    assert "site paris has no pool 'gone'" in gone["notes"][0] and gone["energy_kwh"] is None
    early = made(replace(LOST, started_at_ms=ms(1970, 1, 2), ended_at_ms=ms(1970, 1, 3)))
    assert "the series starts at 2024-01-01" in early["notes"][0] and early["energy_kwh"] is None
    assert made(LOST, now_ms=0)["wait_s"] == 120.25
    clock_back = receipt(ms(2026, 3, 2), [LOST], NETWORK, HOURS, 0)
    assert clock_back["wait_s"] == 0


def test_a_quote_is_the_receipt_of_the_same_span():
    pool = NETWORK.pool("mulhouse", "h100")
    asked = quote(pool, 16, DONE.started_at_ms, DONE.ended_at_ms, HOURS)
    bill = made(DONE)
    for key in ("accelerator_s", "credits_micros", "energy_kwh", "carbon_g"):
        assert asked[key] == bill[key]
    assert quote(pool, 16, 0, 1, {})["energy_kwh"] is None


def test_recorded_feeds_say_which_sites_have_none_and_why():
    abroad = Network(
        "n", (site("paris", 48.86, 2.35), site("tokyo", 35.7, 139.7), site("bern", 46.95, 7.45, "CH"))
    )
    feeds = recorded_feeds(abroad, (2026, 2026))
    assert list(feeds.hours) == ["paris"]
    assert "no recorded weather near" in feeds.missing["tokyo"]
    assert "no recorded carbon for grid zone 'CH'" in feeds.missing["bern"]


def test_the_table_worked_by_hand_in_the_reference():
    """docs/reference/receipt.md: each result stands in its table as printed here."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "receipt.md").read_text()
    marseille = replace(NETWORK.site("marseille"), cooling=Cooling("dry", 40.0))
    network = Network("n", (marseille,))
    start_ms = ms(2026, 11, 22, 15, 23, 36)
    run = HeldRun(1, "marseille", "cpu", start_ms, start_ms + 20_250, 2, EndReason.SUCCEEDED, 38.1)
    bill = receipt(start_ms, [run], network, recorded_feeds(network).hours, 0)
    pue = bill["energy_kwh"] / bill["energy_it_kwh"]
    for name, result in (
        ("accelerator_s", f"{bill['accelerator_s']}"),
        ("credits_micros", f"{bill['credits_micros']}"),
        ("energy_it_kwh", f"{bill['energy_it_kwh']:.7f}"),
        ("outdoor, PUE", f"{pue:.5f}"),
        ("energy_kwh", f"{bill['energy_kwh']:.10f}"),
        ("carbon_g", f"{bill['carbon_g']:.8f}"),
        ("electricity_eur", f"{bill['electricity_eur']:.11f}"),
    ):
        assert re.search(rf"^\| {name} \|.*\| {re.escape(result)} \|$", page, re.MULTILINE), (name, result)


def test_every_key_of_a_receipt_is_in_the_reference():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "receipt.md").read_text()
    bill = made(LOST, DONE)
    for key in (*bill, *bill["sites"][0], *bill["signals"]):
        assert f"`{key}`" in page, key


def test_flat_signals_by_hand():
    """Two CPUs for an hour, metered half busy: (2 x 1.5 + 1 x 4.5) W x 1.25 x 40 g/kWh."""
    about = About("flat", "")
    carbon, price, outdoor = (Series.constant(value, about) for value in (40.0, 100.0, 20.0))
    curve = replace(pue_curve("dry", SUPPLY_C), points=((0.0, 1.25),))
    run = HeldRun(1, "paris", "cpu", 0 + 1000, 3_601_000, 2, EndReason.SUCCEEDED, 3600.0)
    bill = receipt(0, [run], NETWORK, {"paris": site_hours(carbon, price, outdoor, curve)}, 0)
    assert bill["energy_it_kwh"] == pytest.approx(0.0075)
    assert bill["energy_kwh"] == pytest.approx(0.009375)
    assert bill["carbon_g"] == pytest.approx(0.375)
    assert bill["electricity_eur"] == pytest.approx(0.0009375)
    assert bill["credits_micros"] == 20_000 == Interval("p", "c", 0, 3_600_000, 2, 10_000).unit_ms // 360
