import doctest
import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from maillage.errors import Invalid
from maillage.feeds import recorded

PARIS, MARSEILLE, MULHOUSE = (48.86, 2.35), (43.3, 5.37), (47.75, 7.34)


def at(*instant):
    return int(datetime(*instant, tzinfo=UTC).timestamp())


def test_the_docstrings_are_true():
    assert doctest.testmod(recorded).failed == 0


def test_the_reference_page_is_true():
    page = Path(__file__).parents[2] / "docs" / "reference" / "signals.md"
    text = page.read_text().replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    result = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(examples)
    assert result.failed == 0 and result.attempted >= 8


def test_the_packaged_file_is_the_one_its_readme_describes():
    data = resources.files("maillage.feeds") / "data"
    readme = (data / "README.md").read_text()
    assert hashlib.sha256((data / "fr_2024.npz").read_bytes()).hexdigest() in readme
    for name in np.load((data / "fr_2024.npz").open("rb")):
        assert f"`{name}`" in readme
    assert re.search(r"ODbL", readme) and re.search(r"CC BY 4.0", readme)


def test_the_year_2024_has_the_means_that_its_sources_state():
    site = recorded.signals("FR", *PARIS)
    year = at(2024, 1, 1), at(2025, 1, 1)
    assert site.carbon.mean(*year) == pytest.approx(31.28, abs=0.01)  # Electricity Maps: 31.3 in 2024
    assert site.price.mean(*year) == pytest.approx(58.01, abs=0.02)
    assert site.outdoor.mean(*year) == pytest.approx(13.10, abs=0.01)
    assert recorded.outdoor(*MARSEILLE).mean(*year) == pytest.approx(17.66, abs=0.01)
    assert site.carbon.value_at(at(2024, 1, 1, 0)) == 29.09
    assert site.outdoor.value_at(at(2024, 1, 1, 2, 59)) == 7.42


def test_missing_prices_are_filled_by_the_stated_rule_and_counted():
    price = recorded.price("FR")
    assert price.about.repaired == 2 and "straight line" in price.about.method
    before, missing, after = (price.value_at(at(2024, 10, 27, hour)) for hour in (0, 1, 2))
    assert missing == pytest.approx((before + after) / 2)
    assert price.value_at(at(2024, 12, 31, 23)) == price.value_at(at(2024, 12, 31, 22))
    assert recorded.carbon("FR").about.repaired == recorded.outdoor(*PARIS).about.repaired == 0


def test_every_hour_of_another_year_is_that_month_day_and_hour_of_2024():
    carbon = recorded.carbon("FR", (2023, 2028))
    assert np.all(np.diff(carbon.times_s) == 3600)
    for year in (2023, 2025, 2026, 2028):
        instant = datetime(year, 1, 1, tzinfo=UTC)
        while instant.year == year:
            same = instant.replace(year=2024)
            assert carbon.value_at(int(instant.timestamp())) == carbon.value_at(int(same.timestamp()))
            instant += timedelta(hours=7)


def test_29_february_is_left_out_in_common_years_and_kept_in_leap_years():
    carbon = recorded.carbon("FR", (2024, 2028))
    end_of_28, leap_day, march = at(2024, 2, 28, 23), at(2024, 2, 29, 12), at(2024, 3, 1)
    assert carbon.value_at(at(2025, 3, 1) - 3600) == carbon.value_at(end_of_28)
    assert carbon.value_at(at(2025, 3, 1)) == carbon.value_at(march)
    assert carbon.value_at(at(2028, 2, 29, 12)) == carbon.value_at(leap_day)
    hours = {year: (at(year + 1, 1, 1) - at(year, 1, 1)) // 3600 for year in (2024, 2025)}
    assert hours == {2024: 8784, 2025: 8760}
    assert carbon.value_at(at(2026, 12, 31, 23)) == carbon.value_at(at(2024, 12, 31, 23))
    century = recorded.carbon("FR", (1900, 1900))  # no leap year
    assert len(century) == 8760 and century.value_at(at(1900, 3, 1)) == carbon.value_at(march)


def test_no_hour_is_doubled_or_lost_where_clocks_change():
    """In local time 30 March 2025 has 23 hours and 26 October 2025 has 25: in UTC each has 24."""
    price = recorded.price("FR", (2024, 2025))
    for month, day in ((3, 30), (10, 26)):
        start = at(2025, month, day)
        steps = price.times_s[(price.times_s >= start) & (price.times_s < start + 86_400)]
        assert len(steps) == 24
        same = [price.value_at(at(2024, month, day, hour)) for hour in range(24)]
        assert price.values_at(steps).tolist() == same


def test_the_nearest_weather_and_what_the_signals_say_of_themselves():
    site = recorded.signals("fr", *MULHOUSE)
    assert site.outdoor.about.name == "outdoor_strasbourg"
    for series in (site.carbon, site.price, site.outdoor):
        about = series.about
        assert all((about.unit, about.method, about.boundary, about.source, about.vintage))
        assert about.vintage.startswith("2024 replayed")
    assert (site.carbon.about.unit, site.price.about.unit, site.outdoor.about.unit) == (
        "g/kWh",
        "EUR/MWh",
        "C",
    )


def test_an_unknown_zone_or_a_far_place_is_an_error_only_for_what_needs_it():
    with pytest.raises(
        Invalid, match="no recorded carbon for grid zone 'JP'; recorded: FR; give the site's carbon"
    ):
        recorded.signals("JP", *PARIS)
    assert recorded.outdoor(*PARIS).about.unit == "C"
    with pytest.raises(Invalid, match=r"no recorded weather near \(35.7, 139.7\): the nearest, .* km away"):
        recorded.outdoor(35.7, 139.7)
    assert recorded.carbon("FR").about.unit == "g/kWh"


def test_the_same_series_is_shared_and_years_are_bounded():
    assert recorded.carbon("FR") is recorded.carbon("fr")
    for years in ((2025, 2024), (1899, 1900), (1900, 2100), (2300, 2301)):
        with pytest.raises(Invalid, match="years"):
            recorded.carbon("FR", years)
