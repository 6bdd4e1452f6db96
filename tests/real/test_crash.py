"""`kill -9` of the control plane while it commits: what was answered is there, once; the log is whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from maillage.control.clock import WallClock
from maillage.control.leader import Leader
from maillage.control.replay import replay_file
from maillage.control.service import Service, Submission
from maillage.control.store import Store
from maillage.errors import Conflict
from maillage.scheduling.policy import DEFAULT
from tests.simulation.plane_rig import network, spec

ROOT = Path(__file__).parents[2]


class Victim:
    """The process, and what it was heard to say before it died."""

    def __init__(self, folder: Path, name: str) -> None:
        command = [sys.executable, "-m", "tests.real.served", str(folder), name]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.promised: dict[str, str] = {}
        self.ready = threading.Event()
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = line.split()
            if words == ["ready"]:
                self.ready.set()
            elif len(words) == 3 and line.endswith("\n"):
                self.promised[words[1]] = words[2]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self._reader.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


async def test_killed_at_any_moment_it_keeps_its_promises(tmp_path: Path) -> None:
    chance = random.Random(1)
    promised: dict[str, str] = {}
    for life in range(4):
        victim = Victim(tmp_path, f"life{life}")
        try:
            assert victim.ready.wait(120)
            time.sleep(chance.uniform(0.05, 0.6))
        finally:
            victim.kill()
        promised |= victim.promised
    assert len(promised) > 20
    service = Service(network(), Store.open(tmp_path / "maillage.db"), tmp_path, {}, DEFAULT, WallClock())
    service.start()
    try:
        for key, job_id in promised.items():
            count = int(key.rsplit("-", 1)[1])
            item = Submission(spec(array=None if count % 3 else 2), key)
            again = (await service.submit([item], org="org", project="default", user="x"))[0]
            assert isinstance(again, dict) and again["id"] == job_id, f"{key} was answered with {job_id}"
        status = await service.status()
        jobs = await service.jobs(None, limit=1000)
        assert status["jobs"]["pending"] >= len(promised)
        assert len({job["id"] for job in jobs["items"]}) == len(jobs["items"])
    finally:
        service.stop()
    result = replay_file(tmp_path / "maillage.db")
    assert result.difference is None and result.decisions > 4


def test_a_second_leader_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path: Path) -> None:
    first, second = Leader(tmp_path), Leader(tmp_path)
    first.take()
    with pytest.raises(Conflict, match=rf"pid {os.getpid()}.*{tmp_path}"):
        second.take()
    first.release()
    second.take()
    second.release()
    victim = Victim(tmp_path, "leader")
    try:
        assert victim.ready.wait(120)
        with pytest.raises(Conflict, match=f"pid {victim.process.pid}"):
            first.take()
    finally:
        victim.kill()
    assert (tmp_path / "up.lock").read_text().strip() == str(victim.process.pid), "its name is still there"
    first.take()
    first.release()
