"""`maillage run`: submit what a file says; `--dry-run` tells where, when and for how much."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from maillage.errors import Invalid
from maillage.interfaces.cli import jobview, receiptview, words
from maillage.interfaces.cli.output import Column, connected, emit, formatted, note, rows, stderr

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client
    from maillage.interfaces.sdk.results import JobInfo
    from maillage.interfaces.sdk.submission import Submission

QUOTES = (
    Column("JOB", lambda quote: quote["job"]),
    Column("SITE", lambda quote: quote.get("site")),
    Column("POOL", lambda quote: quote.get("pool")),
    Column("STARTS IN", lambda quote: quote.get("wait_s"), show=words.duration),
    Column("CREDITS", lambda quote: quote.get("credits"), right=True, show=words.number),
    Column("ENERGY", lambda quote: quote.get("energy_kwh"), right=True, show=words.energy),
    Column("CO2E", lambda quote: quote.get("carbon_g"), right=True, show=words.carbon),
    Column("WHY THERE", lambda quote: quote.get("reason"), prose=True),
)


@click.command()
@click.argument("what", metavar="FILE|DIR|job.sh")
@click.option("-f", "--follow", is_flag=True, help="Watch it: output on stdout, states on stderr.")
@click.option("--dry-run", is_flag=True, help="Submit nothing; say where, when, credits, kWh and gCO2e.")
@click.option("--site", "sites", multiple=True, metavar="S", help="Only there (may be given again).")
@click.option("-e", "--env", "env", multiple=True, metavar="K=V", help="Set a variable (may be given again).")
@click.option("--name", help="Another name for the job.")
@click.option("--project", help="The project it belongs to.")
@click.option("--idempotency-key", "key", help="Submitting twice under one key makes one job.")
@formatted()
@connected
def run(
    client: Client,
    what: str,
    follow: bool,
    dry_run: bool,
    sites: tuple[str, ...],
    env: tuple[str, ...],
    name: str | None,
    project: str | None,
    key: str | None,
    fmt: str,
) -> None:
    """Submit the jobs and endpoints of a file, a folder with a maillage.yaml, or a shell script.

    \b
    Examples:
      maillage run job.yaml --follow
      maillage run job.yaml --dry-run
      maillage run train.sh --site paris -e EPOCHS=3
      cat job.yaml | maillage run -
    """
    found = _read(what)
    changes = _changes(sites, env, name, project)
    for item in found:
        _apply(item, changes)
    if key and len(found) > 1:
        raise Invalid("an idempotency key names one job; the file holds several")
    if dry_run:
        _quote(client, found, fmt)
        return
    client.patience_s = 30.0
    submitted = _submit_all(client, found, key)
    jobs = [info for kind, info in submitted if kind == "job"]
    if follow:
        jobs = _follow_all(client, jobs, fmt)
        submitted = [("job", info) for info in jobs] + [pair for pair in submitted if pair[0] != "job"]
    _print(submitted, fmt, quiet=follow)
    if follow and not all(info.succeeded for info in jobs):
        raise Exit(1)


def _read(what: str) -> list[Submission]:
    from maillage.interfaces.sdk.submission import read_text, read_work

    if what == "-":
        return read_text(sys.stdin.read(), "stdin", Path.cwd())
    return read_work(what)


def _changes(
    sites: tuple[str, ...], env: tuple[str, ...], name: str | None, project: str | None
) -> dict[str, Any]:
    pairs = dict(item.partition("=")[::2] for item in env)
    if "" in pairs or any("=" not in item for item in env):
        raise Invalid("-e takes KEY=VALUE")
    changes = {"sites": list(sites), "env": pairs, "name": name, "project": project}
    return {option: value for option, value in changes.items() if value}


def _apply(item: Submission, changes: dict[str, Any]) -> None:
    for option, value in changes.items():
        if option == "env":
            value = {**(item.spec.get("env") or {}), **value}
        item.spec[option] = value


def _quote(client: Client, found: list[Submission], fmt: str) -> None:
    quotes, shown = [], []
    for item in found:
        if item.kind == "job":
            _tell_left_out(item.look())
            spec = {key: value for key, value in item.spec.items() if key != "workdir"}  # nothing is sent
            quotes.append(client.quote(spec))
            shown.append({"job": item.name or "-", **quotes[-1]})
        else:
            note(f"endpoint {item.name}: is not quoted, it has no end")
    rows(quotes[0] if len(quotes) == 1 else {"items": shown}, shown, QUOTES, fmt, name="site")


def _submit_all(client: Client, found: list[Submission], key: str | None) -> list[tuple[str, Any]]:
    """Submit in order; a name means the job of the same file first."""
    from maillage.workloads.specs import kept_only

    ids: dict[str, str] = {}
    done: list[tuple[str, Any]] = []
    for item in found:
        try:
            with _bringing(item):
                ready = item.with_ids(ids)
                info: Any = (
                    client.drive(ready.deploy(client))
                    if item.kind == "endpoint"
                    else client.drive(ready.submit(client, key))
                )
            _tell_left_out(ready.left_out)
        except Exception:
            if done:
                note(f"submitted before that: {', '.join(_label(kind, info) for kind, info in done)}")
            raise
        if item.kind != "endpoint" and item.name:
            ids[item.name] = info.id
        done.append((item.kind, info))
        note(f"{_label(item.kind, info)} is {'deployed' if item.kind == 'endpoint' else 'submitted'}")
        if kept := kept_only(item.spec):
            note(f"  {' and '.join(kept)}: kept, not yet acted on")
    return done


def _tell_left_out(names: tuple[str, ...]) -> None:
    from maillage.control.archives import shown

    for name in names:
        note(f"left out of the work folder: {shown(name)}")


@contextmanager
def _bringing(item: Submission) -> Iterator[None]:
    """A word while a work folder is packed and brought."""
    if not item.spec.get("workdir"):
        yield
        return
    with stderr().status(f"bringing {words.safe(str(item.spec['workdir']))}"):
        yield


def _label(kind: str, info: Any) -> str:
    if kind == "endpoint":
        return f"endpoint {info.name}"
    more = f" and {len(info.array) - 1} more" if len(info.array) > 1 else ""
    return f"job {info.id}{more}" + (f" ({info.name})" if info.name else "")


def _follow_all(client: Client, jobs: list[JobInfo], fmt: str) -> list[JobInfo]:
    """Watch the jobs one after the other, in the order of the file."""
    from maillage.interfaces.cli.follow import follow_job

    target = sys.stderr.buffer if fmt in ("json", "yaml", "csv", "name") else None
    ended = []
    for info in jobs:
        for job in info.array or (info.id,):
            last = follow_job(client, job, to=target)
            ended.append(last)
            if last.receipt:
                note(f"{last.name or last.id}: {receiptview.line(last.receipt.raw)}")
    return ended


def _print(submitted: list[tuple[str, Any]], fmt: str, *, quiet: bool) -> None:
    documents = [info.raw for _, info in submitted]
    if fmt == "name":
        for kind, info in submitted:
            click.echo(info.name if kind == "endpoint" else info.id)
    elif fmt in ("json", "yaml"):
        emit(documents[0] if len(documents) == 1 else {"items": documents}, fmt)
    elif not quiet or fmt in ("wide", "csv"):
        rows(None, [info.raw for kind, info in submitted if kind != "endpoint"], jobview.LIST, fmt)
