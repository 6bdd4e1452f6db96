"""`maillage top`: sites, work and power, live."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import rich_click as click

from maillage.errors import Unreachable
from maillage.interfaces.cli import jobview, output, sites, words
from maillage.interfaces.cli.output import connected, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from maillage.interfaces.sdk.client import Client

JOBS_SHOWN = 15


@click.command()
@click.option(
    "--interval", "interval_s", type=click.FloatRange(0.2), default=1.0, show_default=True, help="Seconds."
)
@click.option("--once", is_flag=True, help="Print it once and return.")
@connected
def top(client: Client, interval_s: float, once: bool) -> None:
    """Sites, live jobs and power, until Ctrl-C."""
    if once or not output.stdout().is_terminal:
        output.show(_screen(client))
        return
    from rich.live import Live

    with Live(_screen(client), console=output.stdout(), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval_s)
            try:
                live.update(_screen(client), refresh=True)
            except Unreachable as trouble:  # it may come back: say so and go on looking
                live.update(f"[red]{words.safe(str(trouble))}[/red]", refresh=True)


def _screen(client: Client) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding

    found = [item.raw for item in client.sites()]
    live = client.jobs(state="live", limit=JOBS_SHOWN)
    status = client.status()
    parts: list[Any] = [
        _heading(client.connection.url, found, status),
        Padding(table(found, sites.LIST), (1, 0)),
    ]
    if live.items:
        parts.append(table([item.raw for item in live.items], [c for c in jobview.LIST if not c.wide]))
    else:
        parts.append("[dim]nothing runs or waits[/dim]")
    if live.next:
        parts.append(f"[dim]and more; these are the newest {JOBS_SHOWN}[/dim]")
    return Group(*parts)


def _heading(url: str, found: list[dict[str, Any]], status: dict[str, Any]) -> str:
    drawn_kw = sum(float(site.get("facility_kw") or site.get("power_kw") or 0) for site in found)
    counts = status.get("jobs")
    counted = ", ".join(f"{n} {name}" for name, n in counts.items() if n) if isinstance(counts, dict) else ""
    up = words.duration(status.get("uptime_s"))
    return (
        f"[bold]maillage[/bold] {words.safe(url)}  up {up}  {words.number(drawn_kw)} kW"
        f"  {words.safe(counted)}  [dim]{time.strftime('%H:%M:%S')}[/dim]"
    )
