"""Replay of logs that somebody changed, cut or damaged: each is told, none passes."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from maillage.control.log import Entry, decision_body, event_body, to_line
from maillage.control.replay import network_body, replay_file
from maillage.control.store import Store
from maillage.errors import Conflict, Invalid
from maillage.scheduling.messages import SignalChanged, SiteOpened, Submitted
from maillage.scheduling.policy import DEFAULT
from maillage.scheduling.scheduler import Scheduler
from tests.laws.test_scheduler_laws import network

NET = network([("paris", "h100", "H100", 2, 8, 2)])


def recorded() -> list[Entry]:
    """A network, its weather, a job, the decision to start it, and one that says nothing."""
    core = Scheduler(NET, DEFAULT)
    entries = [Entry(1, 1000, "network", orjson.dumps(network_body(NET, DEFAULT)))]
    for event in (
        SiteOpened("paris", 1),
        SignalChanged("paris", 1, 20.0, 40.0, 10.0),
        Submitted("j1", 1, accelerators=("H100",), estimate_s=60),
    ):
        core.fold(event)
        entries.append(Entry(len(entries) + 1, 1000, event.kind, event_body(event)))
    for now_s in (1, 2):
        body = decision_body(now_s, core.decide(now_s))
        entries.append(Entry(len(entries) + 1, now_s * 1000, "decision", body))
    return entries


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def test_the_log_as_it_was_is_all_equal(tmp_path: Path) -> None:
    found = replay_file(written(tmp_path / "log.jsonl", [to_line(entry) for entry in recorded()]))
    assert (found.entries, found.decisions, found.commands, found.difference) == (6, 2, 1, None)


@pytest.mark.parametrize("gone", [1, 2, 5])
def test_a_log_without_one_of_its_entries_is_refused(tmp_path: Path, gone: int) -> None:
    lines = [to_line(entry) for entry in recorded() if entry.offset != gone]
    with pytest.raises(
        Invalid, match=rf"entry {gone} of log\.jsonl cannot be read: its offset is {gone + 1}"
    ):
        replay_file(written(tmp_path / "log.jsonl", lines))


def test_a_log_whose_time_goes_back_is_refused(tmp_path: Path) -> None:
    lines = [to_line(entry) for entry in recorded()]
    lines[4] = lines[4].replace(b'"at_ms":1000', b'"at_ms":999')
    with pytest.raises(Invalid, match=r"entry 5 of log\.jsonl cannot be read: its at_ms, 999, goes back"):
        replay_file(written(tmp_path / "log.jsonl", lines))


def test_an_emptied_log_is_no_equal_one(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="holds no entries"):
        replay_file(written(tmp_path / "log.jsonl", []))
    Store.open(tmp_path / "maillage.db").close()
    with pytest.raises(Invalid, match=r"maillage\.db holds no entries"):
        replay_file(tmp_path / "maillage.db")


def test_a_log_without_a_network_is_refused(tmp_path: Path) -> None:
    line = to_line(Entry(1, 5, "usage", b"{}"))
    with pytest.raises(Invalid, match=r"entry 1 of log\.jsonl .* begins with a network"):
        replay_file(written(tmp_path / "log.jsonl", [line]))


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b"7", b"\xff\xfe", b'{"offset": NaN}', b"{}"])
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: bytes) -> None:
    lines = [to_line(entry) for entry in recorded()]
    lines[3] = line + b"\n"
    with pytest.raises(Invalid, match=r"entry 4 of log\.jsonl cannot be read: "):
        replay_file(written(tmp_path / "log.jsonl", lines))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("submitted", []),
        ("submitted", None),
        ("submitted", {"job_id": "j", "at_s": 1, "workers": 1e30}),
        ("submitted", {"job_id": "j", "at_s": 1, "workers": 2**40}),
        ("submitted", {"job_id": "j", "at_s": 1, "workers": True}),
        ("submitted", {"job_id": "j", "at_s": 1, "optimise": "beauty"}),
        ("submitted", {"job_id": "j", "at_s": 1, "job_class": 9}),
        ("submitted", {"job_id": "j", "at_s": 1, "colour": "red"}),
        ("submitted", {"job_id": "j"}),
        ("submitted", {"job_id": 7, "at_s": 1}),
        ("signal_changed", {"site": "paris", "at_s": 1, "carbon_g_per_kwh": "NaN", "price_eur_per_mwh": 1.0}),
        ("ended", {"job_id": "j", "attempt": -7, "at_s": 1, "reason": "succeeded"}),
        ("ended", {"job_id": "j", "attempt": 1, "at_s": 1, "reason": "bored"}),
        ("limit_changed", {"site": "atlantis", "at_s": 1, "limit_kw": 1.0}),
        ("decision", {"now_s": "soon", "commands": []}),
        ("decision", {}),
        ("network", {"network": {}, "policy": {}}),
        ("miracle", {}),
    ],
)
def test_an_entry_that_says_nothing_the_core_knows_is_named(tmp_path: Path, kind: str, body: Any) -> None:
    lines = [to_line(entry) for entry in recorded()]
    lines[3] = to_line(Entry(4, 1000, kind, orjson.dumps(body)))
    with pytest.raises(Invalid, match=r"entry 4 of log\.jsonl cannot be read: "):
        replay_file(written(tmp_path / "log.jsonl", lines))


def stored(path: Path) -> Path:
    store = Store.open(path)
    store.commit(recorded(), [])
    store.close()
    return path


@pytest.mark.parametrize(
    "harm",
    [
        "DROP TABLE log",
        'UPDATE log SET body = NULL WHERE "offset" = 3',
        "UPDATE log SET body = x'6e' WHERE \"offset\" = 3",
        "UPDATE log SET at_ms = 'noon' WHERE \"offset\" = 3",
        'DELETE FROM log WHERE "offset" = 3',
        "UPDATE alembic_version SET version_num = 'strange'",
        "DROP TABLE alembic_version",
    ],
)
def test_a_harmed_store_is_told(tmp_path: Path, harm: str) -> None:
    path = stored(tmp_path / "maillage.db")
    assert replay_file(path).difference is None
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'log'")
    connection.close()
    with sqlite3.connect(path) as connection:
        connection.execute(harm)
    connection.close()
    with pytest.raises((Invalid, Conflict), match=r"maillage\.db"):
        replay_file(path)


@pytest.mark.parametrize("kept_bytes", [50, 5000, 40_000])
def test_a_store_cut_short_is_told(tmp_path: Path, kept_bytes: int) -> None:
    path = stored(tmp_path / "maillage.db")
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises((Invalid, Conflict), match=r"maillage\.db"):
        replay_file(path)
