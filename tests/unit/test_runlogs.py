"""Output of workers, kept once however often it is sent."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from maillage.control import runlogs
from maillage.control.protocol import LogChunk
from maillage.control.runlogs import RunLogs
from maillage.errors import Invalid
from maillage.units import job_id

JOB = job_id(1_700_000_000_000, 1)


def chunk(offset: int, data: bytes, final: bool = False, run_id: str = f"{JOB}.1") -> LogChunk:
    return LogChunk(run_id, 0, offset, base64.b64encode(data).decode(), final)


def test_chunks_repeat_and_overlap(tmp_path: Path) -> None:
    logs = RunLogs(tmp_path)
    for one in (chunk(0, b"hello "), chunk(0, b"hello "), chunk(3, b"lo wor"), chunk(9, b"ld\n")):
        logs.push(one)
    assert logs.read(JOB, 1, 0, 0, 100) == (b"hello world\n", False)
    assert logs.read(JOB, 1, 0, 6, 3) == (b"wor", False)
    assert logs.read(JOB, 1, 0, -6, 100) == (b"world\n", False)
    logs.push(chunk(12, b"", final=True))
    assert logs.read(JOB, 1, 0, 0, 5) == (b"hello", False)
    assert logs.read(JOB, 1, 0, 5, 100) == (b" world\n", True)
    assert logs.read(JOB, 1, 1, 0, 100) == (b"", False)


def test_what_the_site_no_longer_has_is_told_and_the_rest_follows(tmp_path: Path) -> None:
    logs = RunLogs(tmp_path)
    for one in (chunk(0, b"begin\n"), chunk(1006, b"later\n"), chunk(1006, b"later\nend\n")):
        logs.push(one)
    text = logs.read(JOB, 1, 0, 0, 1000)[0].decode()
    assert text == "begin\n\n[maillage: 1000 bytes were not kept by the site]\nlater\nend\n"


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlogs, "MOST_BYTES", 10)
    logs = RunLogs(tmp_path)
    for one in (chunk(0, b"12345678"), chunk(8, b"90abcdef"), chunk(16, b"more")):
        logs.push(one)
    text = logs.read(JOB, 1, 0, 0, 1000)[0]
    assert text.startswith(b"1234567890\n[maillage: the log is full")
    assert text.count(b"full") == 1 and b"more" not in text


@pytest.mark.parametrize("run_id", ["../../etc.1", f"{JOB}.0", f"{JOB}.-1", f"{JOB}", f"{JOB}/../x.1"])
def test_no_way_out_of_the_folder(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(Invalid):
        RunLogs(tmp_path / "logs").push(chunk(0, b"x", run_id=run_id))
    assert not (tmp_path / "logs").exists()


def test_malformed_chunks_are_refused(tmp_path: Path) -> None:
    logs = RunLogs(tmp_path)
    with pytest.raises(Invalid):
        logs.push(LogChunk(f"{JOB}.1", 0, 0, "not base64!"))
    with pytest.raises(Invalid):
        logs.push(chunk(-1, b"x"))
