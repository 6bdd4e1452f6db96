"""The recorded year, site by site: what `up` and the receipts run on when there is no network."""

from __future__ import annotations

from dataclasses import dataclass

from maillage.energy.cooling import pue_curve
from maillage.energy.hours import SiteHours, site_hours
from maillage.errors import Invalid
from maillage.feeds import recorded
from maillage.network.model import Network, Site


@dataclass(frozen=True, slots=True)
class SiteFeeds:
    """`hours` by site id, and for a site that has none, `missing` says why, in a sentence for people."""

    hours: dict[str, SiteHours]
    missing: dict[str, str]


def recorded_feeds(network: Network, years: tuple[int, int] = recorded.YEARS) -> SiteFeeds:
    """The hours of every site that the recorded year covers.

    A zone or place that is not recorded is no error here: the network runs, only its energy is unknown.
    """
    hours: dict[str, SiteHours] = {}
    missing: dict[str, str] = {}
    for site in network.sites:
        try:
            hours[site.id] = recorded_hours(site, years)
        except Invalid as trouble:
            missing[site.id] = str(trouble)
    return SiteFeeds(hours, missing)


def recorded_hours(site: Site, years: tuple[int, int] = recorded.YEARS) -> SiteHours:
    """A site's recorded signals joined with its cooling. Raises Invalid where they are not recorded."""
    signals = recorded.signals(site.grid.zone, site.place.lat, site.place.lon, years)
    curve = pue_curve(site.cooling.kind, site.cooling.supply_c)
    return site_hours(signals.carbon, signals.price, signals.outdoor, curve)
