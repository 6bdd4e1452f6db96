"""Entries say the same when they are written down, exported and read again."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from maillage.control import log
from maillage.control.log import Entry
from maillage.control.state import read_fact
from maillage.errors import Invalid
from maillage.scheduling.messages import (
    Drop,
    Ended,
    Event,
    JobClass,
    LimitChanged,
    NodesDown,
    SiteClosed,
    Start,
    Started,
    Stop,
    Submitted,
    is_event,
    to_json,
)
from maillage.workloads.lifecycle import EndReason

EVENTS: tuple[Event, ...] = (
    Submitted(
        "j1", 5, "org", 2, ("H100", "H200"), 4, job_class=JobClass.FLEXIBLE, after=("j0",), sites=("a",)
    ),
    Started("j1", 1, 6),
    Ended("j1", 1, 7, EndReason.SITE_LOST),
    NodesDown("a", "p", (1, 2), 8),
    SiteClosed("a", 9, "unreachable"),
    LimitChanged("a", 10, 12.5),
)
COMMANDS = (
    Start("j1", 1, "a", "p", ((0, 1), (1, 1)), "because"),
    Stop("j2", 3, EndReason.PREEMPTED),
    Drop("j3", EndReason.DEPENDENCY_FAILED),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_is_read_as_it_was_told(event: Event) -> None:
    body = log.event_body(event)
    assert is_event(event.kind)
    assert read_fact(event.kind, orjson.loads(body)) == event
    assert {"kind": event.kind} | orjson.loads(body) == orjson.loads(orjson.dumps(to_json(event)))


def test_a_decision_is_read_as_it_was_taken() -> None:
    body = log.decision_body(42, COMMANDS)
    assert read_fact(log.DECISION, orjson.loads(body)) == COMMANDS
    assert orjson.loads(body)["now_s"] == 42
    assert orjson.loads(body)["commands"] == [orjson.loads(orjson.dumps(to_json(one))) for one in COMMANDS]


def test_an_exported_log_is_the_log(tmp_path: Path) -> None:
    entries = [
        Entry(1, 1000, "job_cancel", b'{"job_id":"j1","user":"\xc3\xa9va"}', "j1"),
        Entry(2, 1001, log.DECISION, log.decision_body(1, COMMANDS)),
    ]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(map(log.to_line, entries)))
    assert list(log.read_lines(path)) == entries


def test_a_broken_export_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(log.to_line(Entry(1, 0, "usage", b"{}")) + b'{"offset": 2}\n')
    with pytest.raises(Invalid, match=r"entry 2 of log\.jsonl cannot be read"):
        list(log.read_lines(path))
