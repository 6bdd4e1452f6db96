import doctest

import numpy as np
import pytest

from maillage import series as series_module
from maillage.errors import Invalid, OutOfRange
from maillage.series import ALWAYS_S, About, Series, fill_gaps

POWER = About("power", "kW")


def hourly(values):
    return Series([3600 * i for i in range(len(values))], values, POWER)


def test_the_docstrings_are_true():
    assert doctest.testmod(series_module).failed == 0


def test_a_step_holds_until_the_next_and_the_last_one_onward():
    steps = hourly([1.0, 2.0, 4.0])
    assert [steps.value_at(t) for t in (0, 3599, 3599.999, 3600, 7200, 10**9)] == [1, 1, 1, 2, 4, 4]
    assert steps.values_at([0, 3600, 10**9]).tolist() == [1, 2, 4]


def test_integral_by_hand_with_fractions_of_a_second():
    steps = hourly([1.0, 2.0, 4.0])
    assert steps.integral(0, 3600) == 3600
    assert steps.integral(3599.5, 3600.5) == pytest.approx(0.5 * 1 + 0.5 * 2)
    assert steps.integral(1800, 9000) == 1800 * 1 + 3600 * 2 + 1800 * 4
    assert steps.integral(5000, 5000) == 0
    assert steps.mean(0, 7200) == 1.5
    assert steps.mean(4000, 4000) == 2


def test_a_short_span_late_in_a_long_series_keeps_its_digits():
    late = hourly(np.full(200_000, 63.17))
    start = 3600 * 199_000
    assert late.integral(start, start + 1) == 63.17
    assert late.integral(start - 0.5, start + 0.5) == pytest.approx(63.17, rel=1e-12)


def test_before_the_first_instant_is_an_error_that_names_both():
    steps = Series([86_400], [1.0], POWER)
    for ask in (lambda: steps.value_at(0), lambda: steps.integral(0, 90_000), lambda: steps.values_at([0])):
        with pytest.raises(
            OutOfRange, match=r"power: no value at 1970-01-01T00:00:00Z; .* 1970-01-02T00:00:00Z"
        ):
            ask()
    with pytest.raises(OutOfRange, match="before it starts"):
        steps.integral(90_000, 86_400)


def test_what_a_series_refuses():
    for times, values, message in (
        ([], [], "at least one"),
        ([0, 1], [1.0], "as many values as instants"),
        ([0, 0], [1.0, 2.0], "number 1 .* does not"),
        ([0, 0.5], [1.0, 2.0], "whole seconds"),
        ([5, 4], [1.0, 2.0], "instants must grow"),
        (
            [0, 1, 2],
            [1.0, float("nan"), float("inf")],
            "2 of 3 values are not finite, the first at 1970-01-01T00:00:01Z",
        ),
    ):
        with pytest.raises(Invalid, match=message):
            Series(times, values, POWER)


def test_a_series_does_not_change_and_does_not_share_memory():
    given = np.array([1.0, 2.0])
    steps = Series([0, 1], given, POWER)
    given[0] = 99
    assert steps.value_at(0) == 1
    with pytest.raises(ValueError, match="read-only"):
        steps.values[0] = 5
    with pytest.raises(AttributeError):
        steps.values = given


def test_a_constant_holds_for_all_of_history():
    same = Series.constant(7.0, POWER)
    assert same.value_at(ALWAYS_S) == same.value_at(-1) == same.value_at(10**11) == 7
    assert same.integral(100, 110.5) == 73.5


def test_map_and_times_keep_the_unit_they_are_told():
    grams = hourly([10.0, 20.0]).times(Series.constant(2.0, POWER), About("x", "g"))
    assert grams.about.unit == "g" and grams.values.tolist() == [20, 40] and len(grams) == 2
    assert hourly([1.0, 2.0]).map(lambda v: v + 1, POWER).values.tolist() == [2, 3]


def test_gaps_are_filled_by_the_stated_rule_and_counted():
    nan = float("nan")
    filled, count = fill_gaps([0, 3600, 7200, 10800], [nan, 4.0, nan, 8.0])
    assert filled.tolist() == [4, 4, 6, 8] and count == 2
    assert fill_gaps([0], [1.0])[1] == 0
    with pytest.raises(Invalid, match="every value is missing"):
        fill_gaps([0, 1], [nan, nan])
