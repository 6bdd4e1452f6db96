"""One thing on one page: its name and state, its facts, and the list of what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click

from maillage.interfaces.cli import output, words
from maillage.interfaces.cli.output import Column, Json

if TYPE_CHECKING:
    from rich.console import RenderableType

FORMATS = ("table", "json", "yaml", "name")


def print_card(
    found: Json, fmt: str, *, key: str, facts: Sequence[Column], part: str, columns: Sequence[Column]
) -> None:
    """Print a thing that is known by `key`; `part` names the list below, its key in small letters."""
    if fmt == "name":
        click.echo(found[key])
    elif fmt == "table":
        output.show(_page(found, key, facts, part, columns))
    else:
        output.emit(found, fmt)


def _page(
    found: Json, key: str, facts: Sequence[Column], part: str, columns: Sequence[Column]
) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for column in facts:
        grid.add_row(f"  {column.title.lower()}", column.show(column.value(found)))
    reason = found.get("reason")
    heading = f"[bold]{words.safe(found[key])}[/bold]  {words.state(found.get('state'))}"
    heading += f" [dim]({words.safe(str(reason))})[/dim]" if reason else ""
    shown: list[RenderableType] = [heading, grid]
    if listed := found.get(part.lower()):
        shown += [f"\n[bold]{part}[/bold]", Padding(output.table(listed, columns), (0, 0, 0, 2))]
    return Group(*shown)
