"""How a job's part of the log is shown: a line an entry; `-o json` has all of it."""

from __future__ import annotations

from maillage.interfaces.cli import words
from maillage.interfaces.cli.output import Column, Json

LONGEST = 160


def _entry(body: Json) -> str:
    """What an entry says about the job, in short."""
    if commands := body.get("commands"):
        return "; ".join(_command(command) for command in commands)
    hidden = ("kind", "job_id", "job_ids", "run_id", "at_s", "at_ms", "spec", "terms", "key")
    shown = {
        key: value for key, value in body.items() if key not in hidden and value not in (None, "", [], {})
    }
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _command(command: Json) -> str:
    at = f" at {command['site']}/{command['pool']}" if command.get("site") else ""
    attempt = f" attempt {command['attempt']}" if command.get("attempt") else ""
    return f"{command.get('kind')}{attempt}{at}: {command.get('reason')}"


COLUMNS = (
    Column("AT", lambda event: event.get("at"), show=words.clock),
    Column("OFFSET", lambda event: event.get("offset"), wide=True, right=True),
    Column("KIND", lambda event: event.get("kind")),
    Column("WHAT", lambda event: _entry(event.get("body") or {}), prose=True),
)
