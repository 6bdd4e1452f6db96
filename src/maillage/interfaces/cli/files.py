"""Commands about files: check a network, replay a log; and where a job's outputs are saved."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

import rich_click as click
from click.exceptions import Exit

from maillage.errors import Invalid, NotFound
from maillage.interfaces import settings
from maillage.interfaces.cli.lazy import LazyGroup
from maillage.interfaces.cli.output import emit, note

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client


@click.group(cls=LazyGroup)
def network() -> None:
    """Network files: check."""


@network.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Read a network file and tell every problem at once; exit code 2 when there are any."""
    from maillage.feeds.sites import recorded_feeds
    from maillage.interfaces.folder import this_machine
    from maillage.network.loader import parse

    try:
        text = file.read_bytes()
    except OSError as trouble:
        raise NotFound(f"{file} cannot be read ({trouble.strerror})") from None
    found = parse(text, str(file), this_machine())
    pools = sum(len(site.pools) for site in found.sites)
    note(f"{file} is well: {found.name}, {len(found.sites)} sites, {pools} pools")
    for site, why in recorded_feeds(found).missing.items():
        note(f"but site {site}: {why}; its carbon, price and energy will be unknown")


@click.command()
@click.argument("log", required=False, type=click.Path(path_type=Path))
@click.option("--data", metavar="DIR", help="Data folder whose log is replayed [MAILLAGE_DATA].")
@click.option(
    "-o", "--output", "fmt", type=click.Choice(("table", "json")), default="table", show_default=True
)
def replay(log: Path | None, data: str | None, fmt: str) -> None:
    """Decide again what a log says was decided; exit code 1 at the first difference.

    LOG is a data folder, its maillage.db, or an exported log; what is in it is not changed.
    """
    from maillage.control.replay import replay_file

    place = log or settings.data_folder(data)
    found = replay_file(place / "maillage.db" if place.is_dir() else place)
    if fmt == "json":
        emit(found.as_json(), "json")
    elif found.difference is None:
        click.echo(
            f"{found.decisions} decisions, all equal ({found.entries} entries, {found.commands} commands)"
        )
    else:
        click.echo(f"the decision at offset {found.difference.offset} is another one")
        click.echo(f"  logged:   {found.difference.logged.decode()}")
        click.echo(f"  replayed: {found.difference.replayed.decode()}")
    if found.difference is not None:
        raise Exit(1)


def save_output(client: Client, job: str, path: str, folder: Path | None) -> None:
    """One output of a job to `folder / path`, or to stdout. A path that leads out is refused."""
    from maillage.interfaces.sdk.wire import get, segment

    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise Invalid(f"{path!r} leads out of the outputs; it is not taken")
    with client.stream(get(f"/jobs/{segment(job)}/outputs/{quote(path)}")) as blocks:
        if folder is None:
            for block in blocks:
                sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
            return
        target = folder.joinpath(*parts)
        part = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                stream.writelines(blocks)
            part.replace(target)
        except OSError as trouble:
            part.unlink(missing_ok=True)
            raise Invalid(f"{target} cannot be written ({trouble.strerror})") from None
