"""`maillage token`, `secret`: what is shown once, or never. Values come by prompt or stdin only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from maillage.errors import Invalid
from maillage.interfaces.cli import words
from maillage.interfaces.cli.lazy import LazyGroup
from maillage.interfaces.cli.output import Column, assured, confirm, connected, emit, formatted, note
from maillage.interfaces.cli.people import posted, print_list

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client

SCOPES = ("read", "run", "infer", "operate", "manage")
_DAY_S = 86_400


SECRETS = (
    Column("NAME", lambda item: item["name"]),
    Column("SET BY", lambda item: item.get("set_by") or item.get("by")),
)
TOKENS = (
    Column("ID", lambda item: item["token_id"]),
    Column("NAME", lambda item: item.get("name")),
    Column("FOR", lambda item: item.get("user") or f"site {item.get('site')}"),
    Column("SCOPES", lambda item: item.get("scopes") or "all"),
    Column("PROJECT", lambda item: item.get("project")),
    Column("EXPIRES", lambda item: item.get("expires_at"), show=words.clock),
    Column("LAST USED", lambda item: item.get("used_at"), show=words.clock),
)


@click.group(cls=LazyGroup)
def token() -> None:
    """Tokens: list, create, revoke."""


@token.command("list")
@click.option("--everybody", is_flag=True, help="Not only one's own (admins).")
@formatted()
@connected
def list_tokens(client: Client, everybody: bool, fmt: str) -> None:
    """One's live tokens; never the token itself."""
    print_list(client, "/tokens", TOKENS, fmt, "token_id", everybody=everybody or None)


@token.command("create")
@click.argument("name", default="")
@click.option("--user", default="", help="For somebody else (admins).")
@click.option("--site", default="", help="For a site's agent (its operator).")
@click.option("--project", default="", help="For this project only.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="May be given again [all].")
@click.option("--days", type=click.FloatRange(0), default=0.0, help="Expires after so many days [never].")
@click.option("-o", "--output", "fmt", type=click.Choice(("text", "json")), default="text", show_default=True)
@connected
def create_token(
    client: Client,
    name: str,
    user: str,
    site: str,
    project: str,
    scopes: tuple[str, ...],
    days: float,
    fmt: str,
) -> None:
    """Issue a token. It is printed on stdout this once.

    \b
    Examples:
      maillage token create laptop --days 90
      maillage token create --site paris > paris.token
    """
    body = {"name": name, "user": user, "site": site, "project": project, "scopes": list(scopes)}
    made = posted(client, "/tokens", {**body, "expires_in_s": round(days * _DAY_S)})
    if fmt == "json":
        emit(made, "json")
        return
    click.echo(made["token"])
    note(
        f"token {made['token_id']}; it is not shown again, `maillage token revoke {made['token_id']}` ends it"
    )


@token.command()
@click.argument("token_id")
@assured
@connected
def revoke(client: Client, token_id: str, yes: bool) -> None:
    """End a token, from this moment on."""
    from maillage.interfaces.sdk.wire import delete, segment

    confirm(f"Revoke token {token_id}?", yes)
    client.json(delete(f"/tokens/{segment(token_id)}"))
    note(f"token {token_id} is revoked")


@click.group(cls=LazyGroup)
def secret() -> None:
    """Secrets of a project: list, set, delete."""


@secret.command("list")
@click.option("--project", default="default", show_default=True)
@formatted()
@connected
def list_secrets(client: Client, project: str, fmt: str) -> None:
    """Names only: values are shown to nobody."""
    from maillage.interfaces.sdk.wire import segment

    print_list(client, f"/projects/{segment(project)}/secrets", SECRETS, fmt, "name")


@secret.command("set")
@click.argument("name")
@click.option("--project", default="default", show_default=True)
@connected
def set_secret(client: Client, name: str, project: str) -> None:
    """Set or replace a secret. Its value is asked for, or read from stdin; it is never an argument.

    \b
    Examples:
      maillage secret set HF_TOKEN
      pass show hf | maillage secret set HF_TOKEN
    """
    from maillage.interfaces.sdk.wire import segment

    if sys.stdin.isatty():
        value = click.prompt(f"Value of {name}", hide_input=True, err=True)
    else:
        value = sys.stdin.read().removesuffix("\n")
    if not value:
        raise Invalid("a secret needs a value")
    posted(client, f"/projects/{segment(project)}/secrets", {"name": name, "value": value})
    note(f"{name} is set in project {project}; jobs name it in `secrets:`")


@secret.command("delete")
@click.argument("name")
@click.option("--project", default="default", show_default=True)
@assured
@connected
def delete_secret(client: Client, name: str, project: str, yes: bool) -> None:
    """Runs that start later go without it."""
    from maillage.interfaces.sdk.wire import delete, segment

    confirm(f"Delete secret {name} of {project}?", yes)
    client.json(delete(f"/projects/{segment(project)}/secrets/{segment(name)}"))
    note(f"{name} is deleted")
