"""`maillage login`, `logout`, `whoami`: join a network that is not on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from maillage.errors import Invalid, NotFound
from maillage.interfaces import settings
from maillage.interfaces.cli import output, words
from maillage.interfaces.cli.output import connected, emit, formatted, note

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client


@click.command()
@click.argument("url")
@click.option("--token-file", type=click.Path(path_type=Path), help="Read the token from a file.")
@click.option("--insecure", is_flag=True, help="Send the token over http:// to another machine all the same.")
def login(url: str, token_file: Path | None, insecure: bool) -> None:
    """Keep a network's address and your token for the commands to come.

    The token is asked for, or read from stdin or a file; it is never an argument.

    \b
    Examples:
      maillage login https://network.example
      pass show maillage | maillage login https://network.example
    """
    address = settings.check_url(url)
    if not settings.is_private_line(address) and not insecure:
        raise Invalid(f"{address} would carry your token in the clear; use https://, or say --insecure")
    token = _token(token_file)
    from maillage.interfaces.sdk.client import Client

    with Client(address, token=token, patience_s=1.0) as client:
        me = client.whoami()
    path = settings.write_login(address, token)
    note(f"you are {me.get('user')} at {address}; kept in {path}, `maillage logout` forgets it")


def _token(token_file: Path | None) -> str:
    if token_file is not None:
        try:
            given = token_file.read_text(encoding="utf-8")
        except OSError as trouble:
            raise NotFound(f"{token_file} cannot be read ({trouble.strerror})") from None
    elif sys.stdin.isatty():
        given = click.prompt("Token", hide_input=True, err=True)
    else:
        given = sys.stdin.readline()
    token = given.strip()
    if not token or any(char.isspace() or not char.isprintable() for char in token):
        raise Invalid("that is no token; it is one word, as `maillage token create` prints it")
    return token


@click.command()
def logout() -> None:
    """Forget the login on this machine. The token itself lives on until it is revoked."""
    note("the login is forgotten" if settings.forget_login() else "there was no login")


@click.command()
@formatted(formats=("table", "json", "yaml", "name"))
@connected
def whoami(client: Client, fmt: str) -> None:
    """Who the network takes you for, and what you may."""
    me = client.whoami()
    if fmt == "name":
        click.echo(me.get("user"))
    elif fmt != "table":
        emit(me, fmt)
    else:
        output.show(f"[bold]{words.plain(me.get('user'))}[/bold] at {words.safe(client.connection.url)}")
        for key, value in me.items():
            if key != "user" and value not in (None, "", [], {}):
                shown = (
                    ", ".join(f"{k} ({v})" for k, v in value.items()) if isinstance(value, dict) else value
                )
                output.show(f"  [dim]{key.replace('_', ' ')}[/dim] {words.plain(shown)}")
