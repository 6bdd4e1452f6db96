import doctest
from itertools import pairwise

import numpy as np
import pytest

from maillage.energy import cooling, grid, hours, indicators, power
from maillage.energy.cooling import PueCurve, dry_per_heat, facility_power_kw, it_headroom_kw, pue_curve
from maillage.energy.hours import NOTHING, Held, drawn, drawn_by_run, held_power_w, site_hours
from maillage.energy.power import UnitPower, pool_it_kw, unit_power, unit_w
from maillage.errors import Invalid, OutOfRange
from maillage.feeds import recorded
from maillage.network.catalogue import ACCELERATORS
from maillage.network.model import Pool
from maillage.series import About, Series

FLAT = PueCurve(((0.0, 1.25),))
CITIES = {"paris": (48.86, 2.35), "marseille": (43.3, 5.37), "strasbourg": (48.57, 7.75)}


def constant(value):
    return Series.constant(value, About("flat", ""))


@pytest.mark.parametrize("module", [cooling, grid, hours, indicators, power], ids=lambda m: m.__name__)
def test_the_docstrings_are_true(module):
    result = doctest.testmod(module)
    assert result.failed == 0 and result.attempted > 0


def test_the_dry_cooler_meets_its_record_and_the_fan_law():
    assert dry_per_heat(35.0, 40.55) == pytest.approx(117.68 / 2931, rel=0.01)
    assert dry_per_heat(-10.0, 40.0) == pytest.approx(117.68 / 2931 * 0.3**3)  # lowest speed


@pytest.mark.parametrize(
    ("supply_c", "mean_2022_24", "worst_2022_24"),
    [
        (44.0, (1.067, 1.070, 1.067), 1.13),
        (40.0, (1.067, 1.070, 1.067), 1.18),
        (32.0, (1.070, 1.076, 1.071), 1.28),
        (27.0, (1.078, 1.092, 1.079), 1.28),
    ],
)
def test_dry_cooled_pue_is_near_the_full_model_on_recorded_weather(supply_c, mean_2022_24, worst_2022_24):
    """The reference is a full facility model on 2022-24; 2024 alone is a little cooler."""
    curve = pue_curve("dry", supply_c)
    worst = []
    for place, reference in zip(CITIES.values(), mean_2022_24, strict=True):
        values = curve.pue(recorded.outdoor(*place, years=(2024, 2024)).values)
        assert values.mean() == pytest.approx(reference, abs=0.005)
        worst.append(values.max())
    assert worst_2022_24 - 0.05 < max(worst) < worst_2022_24 + 0.025
    hottest = facility_power_kw(1.0, 40.56, curve)  # Paris, 2022
    assert hottest == pytest.approx(worst_2022_24, abs=0.025)


def test_pue_rises_with_heat_and_falls_with_warmer_coolant():
    air = np.arange(-40.0, 60.0, 0.5)
    by_supply = [pue_curve("dry", supply_c).pue(air) for supply_c in (20.0, 32.0, 44.0)]
    for curve in by_supply:
        assert np.all(np.diff(curve) >= -1e-12) and np.all(curve > 1.0)
    for colder, warmer in pairwise(by_supply):
        assert np.all(warmer <= colder + 1e-12)
    assert np.all(pue_curve("chiller", 20.0).pue(air) >= by_supply[0] - 1e-12)


def test_headroom_undoes_facility_power():
    curve = pue_curve("dry", 32.0)
    for outdoor_c in (-50.0, 0.0, 17.3, 35.0, 80.0):
        assert facility_power_kw(it_headroom_kw(50.0, outdoor_c, curve), outdoor_c, curve) == pytest.approx(
            50.0
        )
    assert it_headroom_kw(50.0, 36.0, curve) < it_headroom_kw(50.0, 10.0, curve)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: facility_power_kw(-1.0, 10.0, FLAT),
        lambda: facility_power_kw(float("nan"), 10.0, FLAT),
        lambda: it_headroom_kw(-1.0, 10.0, FLAT),
        lambda: PueCurve(()),
        lambda: PueCurve(((0.0, 0.99),)),
        lambda: PueCurve(((0.0, float("nan")),)),
        lambda: PueCurve(((20.0, 1.1), (0.0, 1.2))),
        lambda: pue_curve("dry", 61.0),
        lambda: grid.Chain(ups=1.0),
        lambda: grid.drawn_per_it(grid.Chain(), -0.1),
        lambda: UnitPower(idle_w=10.0, peak_w=5.0),
        lambda: unit_w(UnitPower(1.0, 2.0), 1.01),
        lambda: pool_it_kw(UnitPower(1.0, 2.0), units_up=4, units_busy=5),
        lambda: held_power_w(UnitPower(1.0, 2.0), Held(-1, 0, 1)),
        lambda: held_power_w(UnitPower(1.0, 2.0), Held(1, 2, 1)),
        lambda: drawn(site_hours(*map(constant, (30.0, 60.0, 20.0)), FLAT), -1.0, 0, 1),
        lambda: indicators.pue(8.0, 10.0),
        lambda: indicators.ref(1.0, 0.0),
        lambda: indicators.erf(-1.0, 10.0),
    ],
)
def test_what_is_out_of_range_says_so(ask):
    with pytest.raises(OutOfRange):
        ask()


def test_an_unknown_cooling_names_the_known_ones():
    with pytest.raises(Invalid, match="no cooling 'wet'; known: dry, chiller"):
        pue_curve("wet", 40.0)


def test_the_indicators_meet_the_eu_test_vector():
    """EU 2024/1364: E_DC 10 GWh, E_IT 8 GWh, W_IN 12,000 m3, E_REUSE 1.5 GWh, E_RES 6 GWh."""
    assert indicators.pue(10.0, 8.0) == 1.25
    assert indicators.wue_m3_per_mwh(12_000.0, 8_000.0) == 1.5
    assert indicators.erf(1.5, 10.0) == 0.15
    assert indicators.ref(6.0, 10.0) == 0.60
    assert indicators.ref(12.0, 10.0) == 1.0


def test_every_device_of_the_catalogue_gives_watts_and_a_full_node_gives_its_peak():
    for device in ACCELERATORS.values():
        units = device.gpus_per_node or 8
        pool = Pool("s", "p", device.name, 2, device.gpus_per_node, 8, 64.0, 1)
        unit = unit_power(pool)
        assert units * unit_w(unit, 1.0) == pytest.approx(device.node_peak_w(units))
        assert pool_it_kw(unit, pool.units, 0) == pytest.approx(pool.idle_kw)
        assert pool_it_kw(unit, pool.units, pool.units, 1.0) == pytest.approx(pool.peak_kw)


def test_jobs_and_what_nobody_holds_add_up_to_the_site():
    """16 units up: two runs of 4 and 5 units, 7 unheld, one hour. To the last Wh."""
    unit = UnitPower(70.0, 700.0, 350.0)
    site = site_hours(*map(constant, (30.0, 60.0, 20.0)), FLAT)
    runs = [drawn_by_run(site, unit, Held(units, 0, 3600))[0] for units in (4, 5)]
    unheld = drawn(site, 7 * unit.held_w, 0, 3600)
    whole_kwh = pool_it_kw(unit, 16, 9)
    assert sum((*runs, unheld), NOTHING).it_kwh == pytest.approx(whole_kwh, abs=1e-9)
    assert sum((*runs, unheld), NOTHING).facility_kwh == pytest.approx(whole_kwh * 1.25, abs=1e-9)


def test_metered_cpu_time_sets_the_energy_and_the_method_says_which():
    unit = UnitPower(1.5, 6.0)
    site = site_hours(*map(constant, (100.0, 50.0, 20.0)), FLAT)
    metered, how = drawn_by_run(site, unit, Held(2, 0, 3600, metered_cpu_s=3600.0))
    assert how == "measured cpu time, modelled watts"
    assert metered.it_kwh == pytest.approx((2 * 1.5 + 1 * 4.5) / 1000)
    assert metered.facility_kwh == pytest.approx(metered.it_kwh * 1.25)
    assert metered.carbon_g == pytest.approx(metered.facility_kwh * 100)
    assert metered.cost_eur == pytest.approx(metered.facility_kwh * 0.05)
    idle, _ = drawn_by_run(site, unit, Held(2, 0, 3600, metered_cpu_s=0.0))
    assert idle.it_kwh == pytest.approx(2 * 1.5 / 1000)
    assumed, how = drawn_by_run(site, unit, Held(2, 0, 3600))
    assert how == "held units at 87% utilisation (assumed), modelled watts"
    assert assumed.it_kwh == pytest.approx(2 * (1.5 + 0.87 * 4.5) / 1000)


def test_an_empty_run_draws_nothing_even_with_a_meter():
    site = site_hours(*map(constant, (100.0, 50.0, 20.0)), FLAT)
    assert drawn_by_run(site, UnitPower(1.5, 6.0), Held(2, 50, 50, metered_cpu_s=3.0))[0] == NOTHING


def test_a_site_keeps_where_its_numbers_come_from():
    signals = recorded.signals("FR", *CITIES["paris"])
    site = site_hours(signals.carbon, signals.price, signals.outdoor, pue_curve("dry", 40.0))
    assert site.pue.about.method == "modelled from outdoor_paris"
    assert "life cycle" in site.carbon.about.boundary and "x PUE" in site.carbon_per_it.about.method
    assert site.carbon_per_it.times_s is site.carbon.times_s is site.outdoor.times_s  # hours stand once
