import doctest

import pytest

from maillage.accounts import usage as usage_module
from maillage.accounts.usage import Interval, usage
from maillage.errors import OutOfRange


def held(from_ms, to_ms, units=2, price=10_000, site="paris", charged=True, cpu=None):
    return Interval(site, "cpu", from_ms, to_ms, units, price, charged, cpu)


def test_the_docstrings_are_true():
    assert doctest.testmod(usage_module).failed == 0


def test_a_whole_hour_costs_its_price():
    bill = usage([held(0, 3_600_000, units=8, price=1_000_000)])
    assert (bill.credits_micros, bill.unit_ms, bill.lines[0].unit_s) == (8_000_000, 28_800_000, 28_800)


def test_one_rounding_down_per_line_however_finely_it_was_cut():
    assert usage([held(0, 3_600_000 - 1, units=1, price=1)]).credits_micros == 0
    pieces = [held(ms, ms + 1, units=1, price=1) for ms in range(0, 3_600_000, 100_000)]
    assert usage(pieces).credits_micros == 0
    assert usage([held(0, 60_000), held(60_000, 90_000)]).credits_micros == 500


def test_lines_stand_by_site_and_price_in_order_of_first_holding():
    bill = usage(
        [held(0, 10, site="b"), held(10, 20, site="a"), held(20, 30, site="b"), held(30, 40, price=7)]
    )
    assert [(line.site, line.price_micros, line.unit_ms) for line in bill.lines] == [
        ("b", 10_000, 40),
        ("a", 10_000, 20),
        ("paris", 7, 20),
    ]
    assert bill.credits_micros == sum(line.credits_micros for line in bill.lines)


def test_a_sites_fault_is_said_and_not_owed():
    bill = usage([held(0, 3_600_000, charged=False), held(3_600_000, 7_200_000)])
    assert (bill.credits_micros, bill.waived_micros) == (20_000, 20_000)
    assert bill.lines[0].uncharged_unit_ms == 7_200_000


def test_cpu_time_is_summed_where_it_was_metered():
    assert usage([held(0, 10, cpu=1.5), held(10, 20), held(20, 30, cpu=0.5)]).lines[0].metered_cpu_s == 2.0
    assert usage([held(0, 10)]).lines[0].metered_cpu_s is None


def test_nothing_held_is_nothing_owed():
    assert usage([]).lines == () and usage([]).credits_micros == 0
    assert usage([held(5, 5)]).credits_micros == 0


@pytest.mark.parametrize(
    "wrong", [{"to_ms": 4}, {"units": -1}, {"price": -1}, {"cpu": -0.1}, {"cpu": float("nan")}]
)
def test_what_cannot_have_been_is_refused(wrong):
    with pytest.raises(OutOfRange, match="paris/cpu"):
        held(**{"from_ms": 5, "to_ms": 10, **wrong})
