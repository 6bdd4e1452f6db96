"""The append-only log: what was heard and what was decided, in order. Everything else follows from it.

An entry is a fact. Kinds that the core folds are the core's own events (`scheduling.messages`); the
other kinds are below; `decision` holds `{now_s, commands}`. See docs/reference/log.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from maillage.errors import Invalid
from maillage.scheduling.messages import Command, Event

NETWORK: Final = "network"
JOB_SUBMITTED: Final = "job_submitted"
JOB_CANCEL: Final = "job_cancel"
JOB_REQUEUE: Final = "job_requeue"
RUN_REPORT: Final = "run_report"
CHECKPOINT: Final = "checkpoint"
SITE_SEEN: Final = "site_seen"
SITE_UNREACHABLE: Final = "site_unreachable"
SITE_DRAINED: Final = "site_drained"
SITE_RESUMED: Final = "site_resumed"
SITE_LIMITED: Final = "site_limited"
ENDPOINT_DEPLOYED: Final = "endpoint_deployed"
ENDPOINT_SCALED: Final = "endpoint_scaled"
ENDPOINT_SIZED: Final = "endpoint_sized"
ENDPOINT_DELETED: Final = "endpoint_deleted"
USAGE: Final = "usage"
CLOCK_JUMPED: Final = "clock_jumped"
DECISION: Final = "decision"

ENDPOINT_KINDS: Final = frozenset({ENDPOINT_DEPLOYED, ENDPOINT_SCALED, ENDPOINT_SIZED, ENDPOINT_DELETED})
KINDS: Final = ENDPOINT_KINDS | {
    NETWORK,
    JOB_SUBMITTED,
    JOB_CANCEL,
    JOB_REQUEUE,
    RUN_REPORT,
    CHECKPOINT,
    SITE_SEEN,
    SITE_UNREACHABLE,
    SITE_DRAINED,
    SITE_RESUMED,
    SITE_LIMITED,
    USAGE,
    CLOCK_JUMPED,
    DECISION,
}
"""Every kind but the core's own events."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact. `offset` counts from 1 without gaps; `at_ms` never goes back. `job_id` is "" for none.

    `body` is JSON as bytes: it is compared byte for byte when a log is replayed.
    """

    offset: int
    at_ms: int
    kind: str
    body: bytes
    job_id: str = ""

    def read(self) -> dict[str, Any]:
        body: dict[str, Any] = orjson.loads(self.body)
        return body


def event_body(event: Event) -> bytes:
    """The event's fields; its kind stands in the entry."""
    return orjson.dumps(event)


def decision_body(now_s: int, commands: Iterable[Command]) -> bytes:
    listed = [
        {"kind": command.kind} | {name: getattr(command, name) for name in command.__slots__}
        for command in commands
    ]
    return orjson.dumps({"now_s": now_s, "commands": listed})


def to_line(entry: Entry) -> bytes:
    """One line of an exported log (JSONL)."""
    head = {"offset": entry.offset, "at_ms": entry.at_ms, "kind": entry.kind, "job_id": entry.job_id}
    return orjson.dumps(head | {"body": orjson.Fragment(entry.body)}) + b"\n"


def read_lines(path: Path) -> Iterator[Entry]:
    """Entries of an exported log. Raises Invalid with the line that is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                fields = orjson.loads(line)
                body = orjson.dumps(fields["body"])
                yield Entry(fields["offset"], fields["at_ms"], fields["kind"], body, fields.get("job_id", ""))
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise Invalid(
                    f"entry {number} of {path.name} cannot be read: not one of an exported log ({error}); "
                    "write one with `maillage log export FILE`"
                ) from error
