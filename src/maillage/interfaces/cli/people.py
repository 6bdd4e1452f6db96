"""`maillage org`, `project`, `user`: who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from maillage.interfaces.cli.lazy import LazyGroup
from maillage.interfaces.cli.output import Column, assured, confirm, connected, emit, formatted, note, rows

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client


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


@click.group(cls=LazyGroup)
def org() -> None:
    """Organisations: list, create, own."""


@org.command("list")
@formatted()
@connected
def list_orgs(client: Client, fmt: str) -> None:
    """Organisations one owns or works in."""
    print_list(client, "/orgs", ORGS, fmt, "org")


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

    posted(client, f"/orgs/{segment(org)}/owners", {"user": user})
    note(f"{user} is an owner of {org}")


@click.group(cls=LazyGroup)
def project() -> None:
    """Projects: list, create, members, add, remove."""


@project.command("list")
@formatted()
@connected
def list_projects(client: Client, fmt: str) -> None:
    """Projects one may see."""
    print_list(client, "/projects", PROJECTS, fmt, "project")


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

    print_list(client, f"/projects/{segment(project)}/members", MEMBERS, fmt, "user")


@project.command("add")
@click.argument("project")
@click.argument("user")
@click.option("--role", type=click.Choice(("member", "viewer")), default="member", show_default=True)
@connected
def add_member(client: Client, project: str, user: str, role: str) -> None:
    """Give a user a role in a project."""
    from maillage.interfaces.sdk.wire import segment

    posted(client, f"/projects/{segment(project)}/members", {"user": user, "role": role})
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
    print_list(client, "/users", USERS, fmt, "user")


@user.command("create")
@click.argument("user")
@click.option("--full-name", default="")
@click.option("--admin", is_flag=True, help="May do everything.")
@formatted(formats=("json", "yaml", "name"), default="name")
@connected
def create_user(client: Client, user: str, full_name: str, admin: bool, fmt: str) -> None:
    """Make a user; `maillage token create --user USER` gives them their first token."""
    _made(client, "/users", {"user": user, "full_name": full_name, "admin": admin}, fmt, "user")


def print_list(
    client: Client, path: str, columns: tuple[Column, ...], fmt: str, name: str, **params: Any
) -> None:
    from maillage.interfaces.sdk.wire import get

    found = client.json(get(path, **params))
    rows(found, found["items"], columns, fmt, name=name, none="none yet")


def posted(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    from maillage.interfaces.sdk.wire import post

    made: dict[str, Any] = client.json(post(path, body))
    return made


def _made(client: Client, path: str, body: dict[str, Any], fmt: str, name: str) -> None:
    made = posted(client, path, body)
    if fmt == "name":
        click.echo(made.get(name, body[name]))
    else:
        emit(made, fmt)
