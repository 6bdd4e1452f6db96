"""`maillage job`: what was submitted, why it waits, what it says, how it ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from maillage.errors import Conflict
from maillage.interfaces.cli import eventview, jobview, output, words
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
    watched,
)

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client

STATES = ("live", "pending", "scheduled", "running", "succeeded", "failed", "cancelled")
FILES = (
    Column("PATH", lambda item: item["path"]),
    Column("SIZE", lambda item: item.get("size"), right=True, show=words.size),
)


@click.group(cls=LazyGroup)
def job() -> None:
    """Jobs: list, show, why, logs, cancel, requeue."""


@job.command("list")
@formatted()
@click.option("--project", help="Only this project's.")
@click.option(
    "--state", type=click.Choice(STATES), help="Only those in this state; live: all that have not ended."
)
@click.option("--name", help="Only those of this name.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, the newest."
)
@click.option("--all", "every", is_flag=True, help="All of them, page by page.")
@watched
@connected
def list_(
    client: Client,
    fmt: str,
    project: str | None,
    state: str | None,
    name: str | None,
    limit: int,
    every: bool,
    watch: bool,
) -> None:
    """List jobs, newest first.

    \b
    Examples:
      maillage job list --state live --watch
      maillage job list -o name | xargs -n1 maillage job cancel -y
    """

    def show() -> None:
        document = _pages(client, project, state, name, None if every else limit)
        rows(
            document,
            document["items"],
            jobview.LIST,
            fmt,
            none="no jobs yet; `maillage run FILE` submits one",
        )

    repeat(show, watch)


@job.command()
@click.argument("job")
@formatted(formats=("table", "json", "yaml", "name"))
@watched
@connected
def show(client: Client, job: str, fmt: str, watch: bool) -> None:
    """Everything about one job: attempts, where and why there, and the receipt.

    \b
    Examples:
      maillage job show train-gpt
      maillage job show train-gpt -o json | jq .receipt
    """

    def once() -> None:
        found = client.job(job).raw
        if fmt == "name":
            click.echo(found["id"])
        elif fmt == "table":
            output.show(jobview.page(found))
        else:
            emit(found, fmt)

    repeat(once, watch)


@job.command()
@click.argument("job")
@formatted(formats=("table", "json", "yaml"))
@watched
@connected
def why(client: Client, job: str, fmt: str, watch: bool) -> None:
    """Why it waits, with numbers; what would start it; and when it will start."""

    def once() -> None:
        found = client.why(job)
        if fmt != "table":
            emit(found.raw, fmt)
            return
        click.echo(f"{found.reason}: {found.detail}" if found.detail else found.reason)
        if found.mend:
            click.echo(f"to start sooner: {found.mend}")
        if found.expected_start:
            start = found.raw["expected_start"]
            click.echo(f"expected start: {words.clock(start)}")

    repeat(once, watch)


@job.command()
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=click.IntRange(1), help="Of this attempt; the newest by default.")
@click.option("--worker", type=click.IntRange(0), help="Of this worker (rank) [0].")
@click.option("--tail", type=click.IntRange(0), help="Only the last so many lines.")
@connected
def logs(
    client: Client, job: str, follow: bool, attempt: int | None, worker: int | None, tail: int | None
) -> None:
    """What a worker wrote to stdout and stderr.

    \b
    Examples:
      maillage job logs train-gpt --follow
      maillage job logs train-gpt --attempt 1 --worker 0 --tail 20
    """
    from maillage.interfaces.cli.follow import copy_logs, follow_job

    if follow and attempt is None and tail is None:
        follow_job(client, job, worker=worker, newest_only=True)
        return
    copy_logs(client, job, attempt=attempt, worker=worker, follow=follow, tail=tail)


@job.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--wait", is_flag=True, help="Until they are really gone.")
@assured
@formatted(formats=("table", "json", "yaml", "name"))
@connected
def cancel(client: Client, jobs: tuple[str, ...], wait: bool, yes: bool, fmt: str) -> None:
    """End jobs: SIGTERM, their grace period, SIGKILL."""
    if len(jobs) > 1 or sys.stdin.isatty():
        confirm(f"Cancel {', '.join(jobs)}?", yes)
    found = []
    for name in jobs:
        info = client.cancel(name)
        found.append(client.wait(info.id) if wait else info)
        note(f"{info.id}: {'is gone' if wait else 'is asked to end'}")
    _print_jobs([info.raw for info in found], fmt)


@job.command()
@click.argument("job")
@assured
@formatted(formats=("table", "json", "yaml", "name"))
@connected
def requeue(client: Client, job: str, yes: bool, fmt: str) -> None:
    """Stop the live attempt and queue the job again; it costs no retry."""
    if sys.stdin.isatty():
        confirm(f"Stop the live attempt of {job} and queue it again?", yes)
    _print_jobs([client.requeue(job).raw], fmt)


@job.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--timeout", "timeout_s", type=float, help="Give up after so many seconds (exit code 124).")
@formatted(formats=("table", "json", "yaml", "name"))
@connected
def wait(client: Client, jobs: tuple[str, ...], timeout_s: float | None, fmt: str) -> None:
    """Wait until jobs have ended; exit code 1 when one did not succeed."""
    client.patience_s = 60.0
    found = [client.wait(name, timeout_s) for name in jobs]
    _print_jobs([info.raw for info in found], fmt)
    if not all(info.succeeded for info in found):
        raise Exit(1)


@job.command()
@click.argument("job")
@formatted()
@connected
def events(client: Client, job: str, fmt: str) -> None:
    """The job's own part of the log, oldest first."""
    items = client.events(job)
    rows({"items": items}, items, eventview.COLUMNS, fmt, name="offset")


@job.command()
@click.argument("job")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Save all of them below DIR."
)
@click.option("--cat", "path", metavar="PATH", help="Write this one to stdout.")
@formatted()
@connected
def outputs(client: Client, job: str, folder: Path | None, path: str | None, fmt: str) -> None:
    """The files a job left: list them, save them, or print one.

    \b
    Examples:
      maillage job outputs train-gpt --to ./model
      maillage job outputs train-gpt --cat metrics.json | jq .loss
    """
    from maillage.interfaces.cli.files import save_output

    if path:
        save_output(client, job, path, None)
        return
    found = client.outputs(job)
    items = found.get("files") or []
    if folder is None:
        rows(found, items, FILES, fmt, name="path", none="it has left no files (yet)")
        return
    if not items:
        raise Conflict(f"job {job} has left no files (yet)")
    for item in items:
        save_output(client, job, item["path"], folder)
    note(f"{len(items)} files are in {folder}")


@job.command()
def schema() -> None:
    """The JSON Schema of a job spec, for editors and checks."""
    from maillage.workloads.specs import job_schema

    emit(job_schema(), "json")


def _pages(
    client: Client, project: str | None, state: str | None, name: str | None, limit: int | None
) -> dict[str, Any]:
    """The API's own document; several pages as one, where so many were asked for."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        left = 1000 if limit is None else limit - len(items)
        found = client.jobs(project=project, state=state, name=name, limit=min(left, 1000), cursor=cursor)
        items += found.raw["items"]
        cursor = found.next or None
        if cursor is None or (limit is not None and len(items) >= limit):
            return {**found.raw, "items": items}


def _print_jobs(found: list[dict[str, Any]], fmt: str) -> None:
    if fmt == "name":
        for item in found:
            click.echo(item["id"])
    elif fmt == "table":
        rows(None, found, jobview.LIST, fmt)
    else:
        emit(found[0] if len(found) == 1 else {"items": found}, fmt)
