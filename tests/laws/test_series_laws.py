"""What holds for every step series: additivity, agreement with a plain sum, order, products."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maillage.series import About, Series

ABOUT = About("signal", "unit")
VALUES = st.floats(-1e4, 1e4, allow_nan=False, width=32)


@st.composite
def step_series(draw, values=VALUES):
    times = sorted(draw(st.sets(st.integers(0, 10_000), min_size=1, max_size=30)))
    return Series(times, [draw(values) for _ in times], ABOUT)


@st.composite
def series_and_spans(draw):
    steps = draw(step_series())
    start = int(steps.times_s[0])
    ends = sorted(draw(st.lists(st.floats(start, 12_000), min_size=3, max_size=3)))
    return steps, ends


@given(series_and_spans())
def test_an_integral_is_the_sum_of_its_parts(case):
    steps, (a, b, c) = case
    assert steps.integral(a, c) == pytest.approx(steps.integral(a, b) + steps.integral(b, c), abs=1e-4)


@given(step_series(), st.integers(0, 300))
def test_an_integral_is_the_plain_sum_second_by_second(steps, length):
    start = int(steps.times_s[0])
    plain = sum(steps.value_at(t) for t in range(start, start + length))
    assert steps.integral(start, start + length) == pytest.approx(plain, abs=1e-4)


@given(series_and_spans())
def test_a_mean_stays_between_the_least_and_the_greatest_value(case):
    steps, (a, _, c) = case
    assert steps.values.min() - 1e-6 <= steps.mean(a, c) <= steps.values.max() + 1e-6


@given(step_series(), step_series())
def test_a_product_is_the_product_at_every_instant(one, other):
    product = one.times(other, ABOUT)
    start = max(one.times_s[0], other.times_s[0])
    assert product.times_s[0] == start
    for t in {*one.times_s.tolist(), *other.times_s.tolist(), 10_001}:
        if t >= start:
            assert product.value_at(t) == one.value_at(t) * other.value_at(t)
    assert product.values.tolist() == other.times(one, ABOUT).values.tolist()
