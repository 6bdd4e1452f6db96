"""How jobs are shown: the columns of a list, and the page of one job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maillage.interfaces.cli import receiptview, words
from maillage.interfaces.cli.output import Column, Json, dig, table

if TYPE_CHECKING:
    from rich.console import RenderableType


def took(item: Json) -> float | None:
    """Seconds from the first start to the end, or to now."""
    return words.since(item.get("started_at"), item.get("ended_at"))


def waited(item: Json) -> float | None:
    return words.since(item.get("submitted_at"), item.get("started_at") or item.get("ended_at"))


def why_line(item: Json) -> str:
    """What the list says about a job: why it waits, or how it ended."""
    why = item.get("why")
    if isinstance(why, dict):
        return str(why.get("detail") or why.get("reason") or "")
    reason = str(item.get("reason") or "")
    return str(why or ("" if reason == item.get("state") else reason))


LIST = (
    Column("ID", lambda job: job["id"]),
    Column("NAME", lambda job: job.get("name")),
    Column("STATE", lambda job: job.get("state"), show=words.state),
    Column("SITE", lambda job: job.get("site")),
    Column("WORKERS", lambda job: job.get("workers"), right=True),
    Column("WAITED", waited, right=True, show=words.duration),
    Column("RAN", took, right=True, show=words.duration),
    Column("AGE", lambda job: words.since(job.get("submitted_at")), right=True, show=words.duration),
    Column("WHY", why_line, prose=True),
    Column("PROJECT", lambda job: job.get("project"), wide=True),
    Column("USER", lambda job: job.get("user"), wide=True),
    Column("CLASS", lambda job: job.get("class"), wide=True),
    Column("PRIORITY", lambda job: job.get("priority"), wide=True, right=True),
    Column("ATTEMPTS", lambda job: job.get("attempts"), wide=True, right=True),
    Column("SUBMITTED", lambda job: job.get("submitted_at"), wide=True),
)

RUNS = (
    Column("ATTEMPT", lambda run: run.get("attempt"), right=True),
    Column("SITE", lambda run: run.get("site")),
    Column("STATE", lambda run: run.get("state"), show=words.state),
    Column("ENDED BY", lambda run: run.get("reason")),
    Column("STARTED", lambda run: run.get("started_at"), show=words.clock),
    Column("RAN", took, right=True, show=words.duration),
    Column("EXIT", lambda run: _exits(run.get("exit_codes"))),
    Column("FROM", lambda run: _short(run.get("restored_from"))),
    Column("WHY THERE", lambda run: run.get("why_here"), prose=True),
)


def page(job: Json) -> RenderableType:
    """One job: what it is, where it ran and why there, what it cost."""
    from rich.console import Group
    from rich.padding import Padding

    parts: list[Any] = [_heading(job), _facts(job)]
    if job.get("message") and not any(run.get("message") == job["message"] for run in job.get("runs") or ()):
        parts.append(f"  {words.safe(str(job['message']))}")
    if runs := job.get("runs"):
        parts += ["\n[bold]Attempts[/bold]", Padding(table(runs, RUNS), (0, 0, 0, 2))]
        parts += [
            f"  [red]attempt {run.get('attempt')}: {words.safe(str(run['message']))}[/red]"
            for run in runs
            if run.get("message") and run.get("reason") not in (None, "", "succeeded")
        ]
    if receipt := job.get("receipt"):
        parts += ["\n[bold]Receipt[/bold]", *receiptview.page(receipt)]
    if dig(job, "outputs", "artifact"):
        parts.append(f"\n[bold]Outputs[/bold]\n  {_outputs(job)}")
    return Group(*parts)


def _heading(job: Json) -> str:
    name = words.safe(str(job.get("name") or job["id"]))
    said = job.get("reason") not in (None, "", job.get("state"))
    ended = f" [dim]({words.safe(str(job['reason']))})[/dim]" if said else ""
    return f"[bold]{name}[/bold]  {words.state(job.get('state'))}{ended}"


def _facts(job: Json) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    resources = job.get("resources") or {}
    asked = (
        f"{job.get('workers', 1)} x {resources.get('per_worker', 1)} {_kinds(resources.get('accelerator'))}"
    )
    facts = {
        "id": job["id"],
        "project": f"{job.get('project') or '-'} ({job.get('user') or '-'}, {job.get('org') or '-'})",
        "asks for": f"{asked}, {job.get('class') or 'standard'}",
        "site": job.get("site"),
        "submitted": words.clock(job.get("submitted_at")),
        "waited": words.duration(waited(job)) if job.get("submitted_at") else "-",
        "ran": words.duration(took(job)) if job.get("started_at") else None,
        "why": why_line(job) if job.get("state") == "pending" else None,
        "array": f"element {job.get('array_index')} of {job['array_id']}" if job.get("array_id") else None,
    }
    for key, value in facts.items():
        if value not in (None, ""):
            grid.add_row(f"  {key}", words.plain(value))
    return grid


def _outputs(job: Json) -> str:
    """The files where the answer has them, else how to list them."""
    files = dig(job, "outputs", "files")
    if not files:
        return f"`maillage job outputs {words.safe(job['id'])}` lists them"
    names = ", ".join(f"{item['path']} ({words.size(item.get('size'))})" for item in files[:6])
    return words.safe(names) + (f" and {len(files) - 6} more" if len(files) > 6 else "")


def _kinds(value: Any) -> str:
    return " or ".join(value) if isinstance(value, (list, tuple)) else str(value or "cpu")


def _exits(codes: Any) -> str:
    """`0`, or the codes by rank where they differ."""
    if not codes:
        return ""
    return str(codes[0]) if len(set(codes)) == 1 else ",".join(str(code) for code in codes)


def _short(digest: Any) -> str:
    text = str(digest or "")
    return text.removeprefix("sha256:")[:8] if text else ""
