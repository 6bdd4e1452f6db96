"""A site's hours: grid, sky and cooling as one, and what a steady draw adds up to over a span of them.

A kilowatt of IT costs PUE kilowatts at the meter, PUE x carbon grams and PUE x price euros an hour.
Both products are step series with their sums kept, so any span is two look-ups.
"""

from __future__ import annotations

from dataclasses import dataclass

from maillage.energy.cooling import PueCurve
from maillage.energy.power import UTILISATION, UnitPower
from maillage.errors import OutOfRange
from maillage.series import About, Series

_S_PER_H = 3600.0


@dataclass(frozen=True, slots=True)
class SiteHours:
    """`carbon` g/kWh, `price` EUR/MWh, `outdoor` C as given; `pue` and the two products per IT energy."""

    carbon: Series
    price: Series
    outdoor: Series
    pue: Series
    carbon_per_it: Series
    price_per_it: Series


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn, in kWh of IT, kWh at the facility's meter, gCO2e and EUR (below 0 when prices were)."""

    it_kwh: float
    facility_kwh: float
    carbon_g: float
    cost_eur: float

    def __add__(self, other: Drawn) -> Drawn:
        return Drawn(
            self.it_kwh + other.it_kwh,
            self.facility_kwh + other.facility_kwh,
            self.carbon_g + other.carbon_g,
            self.cost_eur + other.cost_eur,
        )


NOTHING = Drawn(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Moment:
    """A site at one instant: what it draws and what its grid and sky are."""

    it_kw: float
    facility_kw: float
    pue: float
    carbon_g_per_kwh: float
    price_eur_per_mwh: float
    outdoor_c: float


@dataclass(frozen=True, slots=True)
class Held:
    """Units that a run held: `seconds` long, and the CPU time metered for them (None: no meter)."""

    units: int
    from_s: float
    to_s: float
    metered_cpu_s: float | None = None


def site_hours(carbon: Series, price: Series, outdoor: Series, curve: PueCurve) -> SiteHours:
    """Join a site's signals with its cooling. The products hold from where all three have a value."""
    modelled = f"modelled from {outdoor.about.name}"
    pue = outdoor.map(
        curve.pue, About("pue", "kWh/kWh", modelled, "facility meter / IT", outdoor.about.source)
    )
    per_it = About("carbon per IT energy", "g/kWh", f"{carbon.about.method} x PUE", carbon.about.boundary)
    euros_per_it = About(
        "price per IT energy", "EUR/MWh", f"{price.about.method} x PUE", price.about.boundary
    )
    return SiteHours(carbon, price, outdoor, pue, pue.times(carbon, per_it), pue.times(price, euros_per_it))


def drawn(hours: SiteHours, it_power_w: float, from_s: float, to_s: float) -> Drawn:
    """A steady IT power over [from_s, to_s), Unix seconds, fractions allowed.

    Raises OutOfRange for negative power or a span the signals do not cover.

    >>> flat = [Series.constant(v, About("x", "")) for v in (30.0, 60.0, 20.0)]
    >>> hours = site_hours(*flat, PueCurve(((0.0, 1.25),)))
    >>> drawn(hours, 8000.0, 0, 1800)
    Drawn(it_kwh=4.0, facility_kwh=5.0, carbon_g=150.0, cost_eur=0.3)
    """
    if not it_power_w >= 0.0:
        raise OutOfRange(f"IT power {it_power_w} W: 0 or more")
    it_kw = it_power_w / 1000.0
    return Drawn(
        it_kwh=it_kw * (to_s - from_s) / _S_PER_H,
        facility_kwh=it_kw * hours.pue.integral(from_s, to_s) / _S_PER_H,
        carbon_g=it_kw * hours.carbon_per_it.integral(from_s, to_s) / _S_PER_H,
        cost_eur=it_kw * hours.price_per_it.integral(from_s, to_s) / _S_PER_H / 1000.0,
    )


def moment(hours: SiteHours, it_kw: float, at_s: float) -> Moment:
    """The site at an instant, drawing `it_kw` of IT. Raises OutOfRange as `drawn` does."""
    if not it_kw >= 0.0:
        raise OutOfRange(f"IT power {it_kw} kW: 0 or more")
    pue = hours.pue.value_at(at_s)
    return Moment(
        it_kw=it_kw,
        facility_kw=it_kw * pue,
        pue=pue,
        carbon_g_per_kwh=hours.carbon.value_at(at_s),
        price_eur_per_mwh=hours.price.value_at(at_s),
        outdoor_c=hours.outdoor.value_at(at_s),
    )


def held_power_w(power: UnitPower, held: Held, utilisation: float = UTILISATION) -> float:
    """Mean IT power of held units, in watts: idle and overhead of all, and what they draw above idle.

    Above idle: the metered CPU time at full power where there is a meter, else `utilisation` of every
    unit. Raises OutOfRange for negative units, CPU time or span. An empty span draws what it holds.

    >>> held_power_w(UnitPower(1.5, 6.0), Held(units=2, from_s=0, to_s=100, metered_cpu_s=150.0))
    9.75
    """
    span_s = held.to_s - held.from_s
    if held.units < 0 or span_s < 0 or (held.metered_cpu_s or 0.0) < 0:
        raise OutOfRange(f"{held}: units, span and CPU time are 0 or more")
    if held.metered_cpu_s is None:
        busy_units = held.units * utilisation
    else:
        busy_units = held.metered_cpu_s / span_s if span_s else 0.0
    return held.units * power.held_w + busy_units * power.busy_w


def drawn_by_run(
    hours: SiteHours, power: UnitPower, held: Held, utilisation: float = UTILISATION
) -> tuple[Drawn, str]:
    """What the units of a run drew at its site in its hours, and how that is known.

    The CPU time is taken as spread evenly over the run: a meter tells how much, not when.
    """
    it_power_w = held_power_w(power, held, utilisation)
    if held.metered_cpu_s is None:
        method = f"held units at {utilisation:.0%} utilisation (assumed), modelled watts"
    else:
        method = "measured cpu time, modelled watts"
    return drawn(hours, it_power_w, held.from_s, held.to_s), method
