"""Quantities as text and back, and the ids."""

import doctest
import itertools

import pytest

from maillage import units


def test_the_examples_in_the_docstrings_hold():
    outcome = doctest.testmod(units)
    assert outcome.attempted >= 9 and outcome.failed == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("2w", 1209600.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        ("90", 90.0),
        (90, 90.0),
        (0.25, 0.25),
        (" 5s ", 5.0),
    ],
)
def test_durations_are_read(text, seconds):
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "m", "10 m", "10x", "-5s", "1h-5m", "1e3", "nan", "inf", True, None, [], "٣s", "11y", "9999999d"],
)
def test_what_is_no_duration_is_refused_in_words(text):
    with pytest.raises(ValueError, match=r"must be"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1, "1s"),
        (59.6, "1m"),
        (3600, "1h"),
        (86399, "23h59m"),
        (90000, "1d1h"),
        (-60, "-1m"),
        (1.5, "1.5s"),
    ],
)
def test_durations_are_written_for_people(seconds, text):
    assert units.format_duration(seconds) == text


def test_a_written_duration_reads_back_where_it_is_whole():
    for seconds in (1, 60, 61, 3600, 3660, 86400, 90000):
        assert units.parse_duration(units.format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1k", 1000), ("1Ki", 1024), ("16GiB", 16 * 2**30), ("1.5 MB", 1_500_000), (7, 7)],
)
def test_sizes_are_read(text, size):
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1 XB", "1e9", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="must be a size"):
        units.parse_size(text)


def test_job_ids_have_their_shape_and_sort_as_text_by_time():
    noisy = [
        units.job_id(at_ms, noise)
        for at_ms, noise in itertools.product((0, 1, 31, 32, 2**44), (0, 2**20 - 1))
    ]
    assert noisy == sorted(noisy) and len(set(noisy)) == len(noisy)
    assert all(units.is_job_id(job) and len(job) == 14 for job in noisy)


@pytest.mark.parametrize(("at_ms", "noise"), [(-1, 0), (2**45, 0), (0, -1), (0, 2**20)])
def test_a_job_id_takes_no_more_bits_than_it_has(at_ms, noise):
    with pytest.raises(ValueError, match="bits"):
        units.job_id(at_ms, noise)


@pytest.mark.parametrize(
    "text", ["", "j", "train", "j0123456789abi", "J0123456789abc", "j0123456789abcd", "j0123456789ab\n"]
)
def test_other_words_are_no_job_ids(text):
    assert not units.is_job_id(text)


@pytest.mark.parametrize("text", ["", "j0123456789abc", "x.", "x.-1", "x.a"])
def test_other_words_are_no_run_ids(text):
    with pytest.raises(ValueError, match=r"no|not"):
        units.split_run_id(text)


def test_credits_are_whole_micros_and_print_without_rounding():
    assert units.credit_micros(0.1) + units.credit_micros(0.2) == units.credit_micros(0.3)
    assert units.format_credits(0) == "0"
    assert units.format_credits(1) == "0.000001"
