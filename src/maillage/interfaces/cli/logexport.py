"""The network's log as a file: what `maillage replay` takes on another machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from maillage.errors import Invalid
from maillage.interfaces.cli.lazy import LazyGroup
from maillage.interfaces.cli.output import connected, note

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client

_PAGE = 1000


@click.group(cls=LazyGroup)
def log() -> None:
    """The network's log: export."""


@log.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--after", type=click.IntRange(0), default=0, help="Only entries with a greater offset.")
@connected
def export(client: Client, file: Path | None, after: int) -> None:
    """Write the log to FILE, or to stdout, one entry a line (JSONL); for admins.

    \b
    Examples:
      maillage log export log.jsonl && maillage replay log.jsonl
    """
    if file is None:
        for line in _lines(client, after):
            click.echo(line)
        return
    part = file.with_name(f"{file.name}.part")
    try:
        # it holds everybody's specs: for its owner alone
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            count = sum(stream.write(line + "\n") > 0 for line in _lines(client, after))
        part.replace(file)
    except OSError as trouble:
        raise Invalid(f"{file} cannot be written ({trouble.strerror})") from None
    note(f"{count} entries in {file}")


def _lines(client: Client, after: int) -> Iterator[str]:
    from maillage.interfaces.sdk.wire import get

    while True:
        page = client.json(get("/log", after=after, limit=_PAGE))["items"]
        for entry in page:
            yield json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
        if len(page) < _PAGE:
            return
        after = page[-1]["offset"]
