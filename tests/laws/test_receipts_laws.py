"""What holds for every usage: cutting changes nothing, nothing is negative, faults are free, lines add up.

Safety ("never more than used") is paired with progress ("never a whole micro-credit less").
"""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maillage.accounts.usage import MS_PER_H, Interval, shares, usage
from maillage.energy.cooling import pue_curve
from maillage.energy.hours import Held, drawn_by_run, site_hours
from maillage.energy.power import UnitPower
from maillage.feeds import recorded

START_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
SIGNALS = recorded.signals("FR", 43.3, 5.37, (2024, 2026))
HOURS = site_hours(SIGNALS.carbon, SIGNALS.price, SIGNALS.outdoor, pue_curve("dry", 27.0))

INTERVALS = st.builds(
    lambda site, start, length, units, price, charged: Interval(
        site, "p", start, start + length, units, price, charged
    ),
    st.sampled_from(["paris", "marseille"]),
    st.integers(0, 10**13),
    st.integers(0, 10**10),
    st.integers(0, 50_000),
    st.sampled_from([0, 1, 9_999, 1_000_000]),
    st.booleans(),
)


@given(st.lists(INTERVALS, max_size=6), st.data())
def test_cut_anywhere_the_bill_is_the_same_to_the_micro_credit(intervals, data):
    pieces = []
    for whole in intervals:
        cuts = sorted(data.draw(st.lists(st.integers(whole.from_ms, whole.to_ms), max_size=4)))
        ends = [whole.from_ms, *cuts, whole.to_ms]
        pieces += [replace(whole, from_ms=a, to_ms=b) for a, b in pairwise(ends)]
    assert usage(pieces) == usage(intervals)


@given(st.lists(INTERVALS, max_size=6))
def test_a_bill_is_never_negative_never_more_than_was_used_and_never_a_micro_credit_a_line_less(intervals):
    bill = usage(intervals)
    used = sum((Fraction(i.unit_ms * i.price_micros, MS_PER_H) for i in intervals if i.charged), Fraction(0))
    assert 0 <= bill.credits_micros <= used
    assert used - bill.credits_micros < max(1, len(bill.lines))
    assert all(line.credits_micros >= 0 and line.waived_micros >= 0 for line in bill.lines)
    assert bill.credits_micros == sum(line.credits_micros for line in bill.lines)


@given(st.lists(INTERVALS, max_size=6))
def test_shares_add_up_to_the_bill_and_each_is_its_own_cost_to_a_micro_credit(intervals):
    parts = shares(intervals)
    assert sum(parts) == usage(intervals).credits_micros
    for interval, part in zip(intervals, parts, strict=True):
        exact = Fraction(interval.unit_ms * interval.price_micros * interval.charged, MS_PER_H)
        assert part >= 0 and abs(part - exact) < 1


@given(st.lists(st.integers(0, 400 * 86_400_000), min_size=3, max_size=6, unique=True))
def test_a_run_cut_in_pieces_draws_what_the_whole_draws(cuts):
    cuts = sorted(ms + START_MS for ms in cuts)
    power = UnitPower(70.0, 700.0, 350.0)
    pieces = [drawn_by_run(HOURS, power, Held(8, a / 1000, b / 1000))[0] for a, b in pairwise(cuts)]
    whole, _ = drawn_by_run(HOURS, power, Held(8, cuts[0] / 1000, cuts[-1] / 1000))
    for figure in ("it_kwh", "facility_kwh", "carbon_g", "cost_eur"):
        total = sum(getattr(piece, figure) for piece in pieces)
        assert total == pytest.approx(getattr(whole, figure), rel=1e-9, abs=1e-9)
    assert whole.facility_kwh > whole.it_kwh > 0 and whole.carbon_g > 0


@given(st.lists(INTERVALS, max_size=6))
def test_what_is_not_charged_nets_to_zero_and_changes_no_other_line(intervals):
    free = [replace(interval, charged=False) for interval in intervals]
    assert usage(free).credits_micros == 0
    assert usage(free).unit_ms == usage(intervals).unit_ms
    charged = [interval for interval in intervals if interval.charged]
    assert usage([*charged, *free]).credits_micros == usage(charged).credits_micros
