"""How a command prints its data: `-o table|wide|json|yaml|csv|name`, on stdout and nothing else there.

JSON and YAML are the API's own document. The tables are for people: short ages, colours on a
terminal; CSV has the columns of `wide` with plain numbers.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from maillage.interfaces.cli.words import plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from maillage.interfaces.sdk.client import Client

UNCUT = 1000  # columns: no line of ours is that long
FORMATS = ("table", "wide", "json", "yaml", "csv", "name")
Json = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, the value of a row, whether only `wide` and `csv` have it.

    `prose`: the column that gives way, by wrapping, where a terminal is narrow.
    """

    title: str
    value: Callable[[Json], Any]
    wide: bool = False
    right: bool = False
    prose: bool = False
    show: Callable[[Any], str] = plain


def plain_wanted() -> bool:
    """Whether NO_COLOR asks for text without any escape sequence."""
    return bool(os.environ.get("NO_COLOR"))


@functools.cache
def stdout(uncut: bool = False) -> Console:
    """Rich's console for data. Not on a terminal it neither colours nor cuts."""
    return _console(sys.stdout.isatty() and not uncut, stderr=False)


@functools.cache
def stderr() -> Console:
    """Rich's console for everything that is not data."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(fitted: bool, *, stderr: bool) -> Console:
    from rich.console import Console

    return Console(
        stderr=stderr,
        highlight=False,
        soft_wrap=stderr,
        emoji=False,
        width=None if fitted else UNCUT,
        color_system=None if plain_wanted() else "auto",
    )


def show(renderable: RenderableType, *, uncut: bool = False) -> None:
    """Print for people, on stdout, without the blanks that Rich fills lines with.

    `uncut`: lines may be longer than the terminal is wide.
    """
    console = stdout(uncut)
    with console.capture() as captured:
        console.print(renderable)
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), color=True)


def note(text: str) -> None:
    """A line for the person, on stderr."""
    click.echo(text, err=True)


def emit(document: Any, fmt: str) -> None:
    """A whole document as JSON or YAML."""
    if fmt == "yaml":
        import yaml

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def rows(
    document: Any,
    items: Sequence[Json],
    columns: Sequence[Column],
    fmt: str,
    *,
    name: str = "id",
    none: str = "",
) -> None:
    """A list. `name` is the key that `-o name` prints; `none` is said on stderr for an empty table."""
    if fmt in ("json", "yaml"):
        emit(document, fmt)
    elif fmt == "name":
        for item in items:
            click.echo(item[name])
    elif fmt == "csv":
        _csv(items, columns)
    elif not items and none:
        note(none)
    else:
        wide = fmt == "wide"
        show(table(items, [column for column in columns if wide or not column.wide]), uncut=wide)


def table(items: Iterable[Json], columns: Sequence[Column]) -> RenderableType:
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.right else "left", no_wrap=not column.prose)
    for item in items:
        drawn.add_row(*(column.show(column.value(item)) for column in columns))
    return drawn


def _csv(items: Iterable[Json], columns: Sequence[Column]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.title.lower().replace(" ", "_") for column in columns])
    for item in items:
        writer.writerow(["" if (value := column.value(item)) is None else value for column in columns])


def formatted(default: str = "table", formats: Sequence[str] = FORMATS) -> Callable[[F], F]:
    """The option `-o`, handed to the command as `fmt`."""
    return click.option(
        "-o",
        "--output",
        "fmt",
        type=click.Choice(formats),
        default=default,
        show_default=True,
        help="How to print.",
    )


def watched(command: F) -> F:
    """The options `--watch` and `--interval`."""
    command = click.option(
        "-w", "--watch", is_flag=True, help="Print again whenever it changes, until Ctrl-C."
    )(command)
    return command


def repeat(show: Callable[[], None], watch: bool, interval_s: float = 1.0) -> None:
    """Call `show` once, or with `watch` again and again on a cleared screen."""
    while True:
        if watch and sys.stdout.isatty():
            stdout().clear()
        show()
        if not watch:
            return
        sys.stdout.flush()
        time.sleep(interval_s)


def connected(command: F) -> F:
    """The options that say where the network is; the command gets a `Client` as its first argument."""

    @click.option("--data", metavar="DIR", help="Data folder of a network on this machine [MAILLAGE_DATA].")
    @click.option("--url", metavar="URL", help="Address of the network [MAILLAGE_URL].")
    @functools.wraps(command)
    def wrapped(*args: Any, data: str | None, url: str | None, **kwargs: Any) -> Any:
        with connect(url, data) as client:
            return command(client, *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def connect(url: str | None = None, data: str | None = None, patience_s: float = 1.0) -> Client:
    """A client for a command: it gives up soon, a person waits."""
    from maillage.interfaces.sdk.client import Client

    return Client(url, data=data, patience_s=patience_s)


def confirm(question: str, yes: bool) -> None:
    """Ask on stderr unless `-y`. Without a terminal nobody can answer: a usage error says so."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this asks for a confirmation; without a terminal give -y")
    click.confirm(question, abort=True, err=True)


def assured(command: F) -> F:
    """The option `-y`, handed to the command as `yes`."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def dig(body: Mapping[str, Any], *path: str) -> Any:
    """A value deep in a document, None where a step is missing."""
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
