"""`maillage site`: the campuses of the network, their power, and the orders an operator gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from maillage.errors import Invalid
from maillage.interfaces.cli import words
from maillage.interfaces.cli.card import FORMATS as SHOW_FORMATS
from maillage.interfaces.cli.card import print_card
from maillage.interfaces.cli.lazy import LazyGroup
from maillage.interfaces.cli.output import (
    Column,
    assured,
    confirm,
    connected,
    formatted,
    note,
    repeat,
    rows,
    watched,
)

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client


def _units(site: dict[str, Any]) -> str:
    pools = site.get("pools") or ()
    total = sum(int(pool.get("units_total") or 0) for pool in pools)
    return f"{total - sum(int(pool.get('units_free') or 0) for pool in pools)}/{total}"


def _runs(site: dict[str, Any]) -> int | None:
    runs = site.get("runs")
    return len(runs) if isinstance(runs, (list, tuple)) else runs


def place(site: dict[str, Any]) -> str:
    where = site.get("place")
    if isinstance(where, dict):
        return f"{where.get('country') or ''} {where.get('lat', '')},{where.get('lon', '')}".strip()
    return str(where or "")


LIST = (
    Column("ID", lambda site: site["id"]),
    Column("STATE", lambda site: site.get("state"), show=words.state),
    Column("PLACE", place, wide=True),
    Column("USED", _units, right=True),
    Column("RUNS", _runs, right=True),
    Column("IT KW", lambda site: site.get("power_kw"), right=True, show=words.number),
    Column("FACILITY KW", lambda site: site.get("facility_kw"), right=True, show=words.number),
    Column("LIMIT KW", lambda site: site.get("limit_kw"), right=True, show=words.number),
    Column("GCO2E/KWH", lambda site: site.get("carbon_g_per_kwh"), right=True, show=words.number),
    Column("EUR/MWH", lambda site: site.get("price_eur_per_mwh"), right=True, show=words.number),
    Column("PUE", lambda site: site.get("pue"), wide=True, right=True, show=words.number),
)

POOLS = (
    Column("POOL", lambda pool: pool["id"]),
    Column("ACCELERATOR", lambda pool: pool.get("accelerator")),
    Column("NODES", lambda pool: pool.get("nodes"), right=True),
    Column("FREE", lambda pool: pool.get("units_free"), right=True),
    Column("OF", lambda pool: pool.get("units_total"), right=True),
)


@click.group(cls=LazyGroup)
def site() -> None:
    """Sites: list, show, limit, drain, resume, cut."""


@site.command("list")
@formatted()
@watched
@connected
def list_(client: Client, fmt: str, watch: bool) -> None:
    """List sites with their load, power and grid."""

    def show() -> None:
        items = [item.raw for item in client.sites()]
        rows({"items": items}, items, LIST, fmt)

    repeat(show, watch)


@site.command()
@click.argument("site")
@formatted(formats=SHOW_FORMATS)
@watched
@connected
def show(client: Client, site: str, fmt: str, watch: bool) -> None:
    """Everything about one site."""
    repeat(lambda: _print(client.site(site).raw, fmt), watch)


@site.command()
@click.argument("site")
@click.argument("kw", metavar="KW|none")
@assured
@formatted(formats=SHOW_FORMATS)
@connected
def limit(client: Client, site: str, kw: str, yes: bool, fmt: str) -> None:
    """Set what the site may draw at its facility meter, in kW; `none` lifts the limit.

    \b
    Examples:
      maillage site limit paris 180
      maillage site limit paris none
    """
    try:
        wanted = None if kw.lower() == "none" else float(kw)
    except ValueError:
        raise Invalid(f"{kw!r} is no power; give kilowatts, or none") from None
    if wanted is not None and not 0 <= wanted < 1e9:
        raise Invalid(f"{kw} kW is no limit; give 0 or more")
    _print(client.order_site(site, "limit", {"kw": wanted}).raw, fmt)


@site.command()
@click.argument("site")
@click.option("--reason", default="", help="Kept in the log.")
@assured
@formatted(formats=SHOW_FORMATS)
@connected
def drain(client: Client, site: str, reason: str, yes: bool, fmt: str) -> None:
    """Start nothing new there; what runs, runs on."""
    _print(client.order_site(site, "drain", {"reason": reason}).raw, fmt)


@site.command()
@click.argument("site")
@click.option("--reason", default="", help="Kept in the log.")
@formatted(formats=SHOW_FORMATS)
@connected
def resume(client: Client, site: str, reason: str, fmt: str) -> None:
    """Take new work again after a drain."""
    _print(client.order_site(site, "resume", {"reason": reason}).raw, fmt)


@site.command()
@click.argument("site")
@click.option(
    "--for",
    "for_s",
    type=click.FloatRange(min=0, max=86_400),
    default=60.0,
    show_default=True,
    help="Seconds; 0 ends a cut at once.",
)
@assured
@formatted(formats=SHOW_FORMATS)
@connected
def cut(client: Client, site: str, for_s: float, yes: bool, fmt: str) -> None:
    """A drill: the site's embedded agent goes silent, as if its line were cut.

    \b
    Examples:
      maillage site cut paris --for 40
      maillage site cut paris --for 0      end the drill now
    """
    if for_s:
        confirm(f"Cut {site} off for {for_s:g} s?", yes)
    _print(client.order_site(site, "cut", {"for_s": for_s}).raw, fmt)
    told = f"is cut off for {for_s:g} s; what runs there runs on, and its jobs decide by `on_disconnect`"
    note(f"{site} {told}" if for_s else f"the cut of {site} is over; its agent calls again at once")


def _print(found: dict[str, Any], fmt: str) -> None:
    print_card(found, fmt, key="id", facts=LIST[2:], part="Pools", columns=POOLS)
