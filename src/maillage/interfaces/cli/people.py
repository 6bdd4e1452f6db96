"""`maillage org`, `project`, `user`, `token`, `secret`: who may do what."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import rich_click as click

from maillage.errors import Invalid
from maillage.interfaces.cli import words
from maillage.interfaces.cli.lazy import LazyGroup
from maillage.interfaces.cli.output import Column, assured, confirm, connected, emit, formatted, note, rows

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client

SCOPES = ("read", "run", "infer", "operate", "manage")
_DAY_S = 86_400


def _from_ms(value: Any) -> str | None:
    return datetime.fromtimestamp(value / 1000, UTC).isoformat() if value else None


ORGS = (
    Column("ORG", lambda item: item["org"]),
    Column("OWNERS", lambda item: item.get("owners")),
)
PROJECTS = (
    Column("PROJECT", lambda item: item["project"]),
    Column("ORG", lambda item: item.get("org")),
)
MEMBERS = (
    Column("USER", lambda item: item["user"]),
    Column("ROLE", lambda item: item.get("role")),
)
USERS = (
    Column("USER", lambda item: item["user"]),
    Column("NAME", lambda item: item.get("full_name")),
    Column("ADMIN", lambda item: "yes" if item.get("admin") else ""),
)
SECRETS = (
    Column("NAME", lambda item: item["name"]),
    Column("SET BY", lambda item: item.get("set_by") or item.get("by")),
)
TOKENS = (
    Column("ID", lambda item: item["token_id"]),
    Column("NAME", lambda item: item.get("name")),
    Column("FOR", lambda item: item.get("user") or f"site {item.get('site')}"),
    Column("SCOPES", lambda item: item.get("scopes") or "all"),
    Column("PROJECT", lambda item: item.get("only_project")),
    Column("EXPIRES", lambda item: _from_ms(item.get("expires_at_ms")), show=words.clock),
    Column("LAST USED", lambda item: _from_ms(item.get("last_used_at_ms")), show=words.clock),
)


@click.group(cls=LazyGroup)
def org() -> None:
    """Organisations: list, create, own."""


@org.command("list")
@formatted()
@connected
def list_orgs(client: Client, fmt: str) -> None:
    """Organisations one owns or works in."""
    _list(client, "/orgs", ORGS, fmt, "org")


@org.command("create")
@click.argument("org")
@click.option("--owner", default="", help="Its first owner (a user).")
@formatted(formats=("json", "yaml", "name"), default="name")
@connected
def create_org(client: Client, org: str, owner: str, fmt: str) -> None:
    """Make an organisation."""
    _made(client, "/orgs", {"org": org, "owner": owner}, fmt, "org")


@org.command("own")
@click.argument("org")
@click.argument("user")
@connected
def own_org(client: Client, org: str, user: str) -> None:
    """Make a user an owner of an organisation."""
    from maillage.interfaces.sdk.wire import segment

    _post(client, f"/orgs/{segment(org)}/owners", {"user": user})
    note(f"{user} is an owner of {org}")


@click.group(cls=LazyGroup)
def project() -> None:
    """Projects: list, create, members, add, remove."""


@project.command("list")
@formatted()
@connected
def list_projects(client: Client, fmt: str) -> None:
    """Projects one may see."""
    _list(client, "/projects", PROJECTS, fmt, "project")


@project.command("create")
@click.argument("project")
@click.option("--org", required=True, help="The organisation it belongs to.")
@formatted(formats=("json", "yaml", "name"), default="name")
@connected
def create_project(client: Client, project: str, org: str, fmt: str) -> None:
    """Make a project."""
    _made(client, "/projects", {"project": project, "org": org}, fmt, "project")


@project.command()
@click.argument("project")
@formatted()
@connected
def members(client: Client, project: str, fmt: str) -> None:
    """Who may do what in a project."""
    from maillage.interfaces.sdk.wire import segment

    _list(client, f"/projects/{segment(project)}/members", MEMBERS, fmt, "user")


@project.command("add")
@click.argument("project")
@click.argument("user")
@click.option("--role", type=click.Choice(("member", "viewer")), default="member", show_default=True)
@connected
def add_member(client: Client, project: str, user: str, role: str) -> None:
    """Give a user a role in a project."""
    from maillage.interfaces.sdk.wire import segment

    _post(client, f"/projects/{segment(project)}/members", {"user": user, "role": role})
    note(f"{user} is a {role} of {project}")


@project.command("remove")
@click.argument("project")
@click.argument("user")
@assured
@connected
def remove_member(client: Client, project: str, user: str, yes: bool) -> None:
    """Take a user out of a project."""
    from maillage.interfaces.sdk.wire import delete, segment

    confirm(f"Take {user} out of {project}?", yes)
    client.json(delete(f"/projects/{segment(project)}/members/{segment(user)}"))
    note(f"{user} sees nothing of {project} any more")


@click.group(cls=LazyGroup)
def user() -> None:
    """Users: list, create."""


@user.command("list")
@formatted()
@connected
def list_users(client: Client, fmt: str) -> None:
    """All users of the network."""
    _list(client, "/users", USERS, fmt, "user")


@user.command("create")
@click.argument("user")
@click.option("--full-name", default="")
@click.option("--admin", is_flag=True, help="May do everything.")
@formatted(formats=("json", "yaml", "name"), default="name")
@connected
def create_user(client: Client, user: str, full_name: str, admin: bool, fmt: str) -> None:
    """Make a user; `maillage token create --user USER` gives them their first token."""
    _made(client, "/users", {"user": user, "full_name": full_name, "admin": admin}, fmt, "user")


@click.group(cls=LazyGroup)
def token() -> None:
    """Tokens: list, create, revoke."""


@token.command("list")
@click.option("--everybody", is_flag=True, help="Not only one's own (admins).")
@formatted()
@connected
def list_tokens(client: Client, everybody: bool, fmt: str) -> None:
    """One's live tokens; never the token itself."""
    _list(client, "/tokens", TOKENS, fmt, "token_id", everybody=everybody or None)


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
    made = _post(client, "/tokens", {**body, "expires_in_s": round(days * _DAY_S)})
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

    _list(client, f"/projects/{segment(project)}/secrets", SECRETS, fmt, "name")


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
    _post(client, f"/projects/{segment(project)}/secrets", {"name": name, "value": value})
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


def _list(client: Client, path: str, columns: tuple[Column, ...], fmt: str, name: str, **params: Any) -> None:
    from maillage.interfaces.sdk.wire import get

    found = client.json(get(path, **params))
    rows(found, found["items"], columns, fmt, name=name, none="none yet")


def _post(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    from maillage.interfaces.sdk.wire import post

    made: dict[str, Any] = client.json(post(path, body))
    return made


def _made(client: Client, path: str, body: dict[str, Any], fmt: str, name: str) -> None:
    made = _post(client, path, body)
    if fmt == "name":
        click.echo(made.get(name, body[name]))
    else:
        emit(made, fmt)
