"""`kill -9` of `maillage up` again and again while jobs are submitted, start, keep checkpoints and finish."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

from tests.real.cli_rig import SLOW_S, Cli, kill, network, until

JOBS = 14
KILLS = 5
SEED = 7
STARTED, LEFT = "started", "left"


class Submitting(threading.Thread):
    """A person who submits one job after the other, whatever answers."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        super().__init__(daemon=True)
        self.cli, self.folder = cli, folder
        self.promised: dict[str, str] = {}
        self.unknown: set[str] = set()  # no answer came: it may be there or not

    def run(self) -> None:
        for number in range(JOBS):
            name = f"job-{number}"
            spec = self.cli.spec(self.folder, self._spec(name, number), f"{name}.yaml")
            ran = self.cli("run", spec, "-o", "name", code=None)
            if ran.returncode == 0:
                self.promised[name] = ran.stdout.strip()
            else:
                assert ran.returncode == 6, ran.stderr
                self.unknown.add(name)
            time.sleep(0.2)

    def _spec(self, name: str, number: int) -> str:
        script = f"""
  echo {name} $MAILLAGE_RUN_ID $RANK >> {self.folder}/{STARTED}
  cd $MAILLAGE_CHECKPOINT_DIR
  for step in $(seq 1 {number % 5 * 10}); do
    echo $step > $RANK.tmp; mv $RANK.tmp $RANK; sleep 0.1
  done
  echo made by {name} > $MAILLAGE_OUTPUT_DIR/made
  echo {name} $MAILLAGE_RUN_ID $RANK >> {self.folder}/{LEFT}
"""
        return f"name: {name}\nworkers: {1 + number % 2}\ncheckpoint: {{interval: 1s}}\nscript: |{script}"


def test_nothing_is_lost_and_nothing_runs_twice(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with network(tmp_path) as cli:
        port = cli.server["url"].rpartition(":")[2]
        person = Submitting(cli, tmp_path)
        person.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.1, 2.5))
            kill(cli.server["pid"])
            cli("up", "--detach", "--port", port)
        person.join(SLOW_S)
        jobs = until(lambda: _all_ended(cli), 120.0)
        assert set(person.promised) <= set(jobs), "what was answered is there"
        assert set(jobs) <= set(person.promised) | person.unknown and len(person.promised) > JOBS // 2
        started, left = (sorted((tmp_path / name).read_text().splitlines()) for name in (STARTED, LEFT))
        assert len(started) == len(set(started)) and started == left, "each worker ran once, to its end"
        for name, job in jobs.items():
            assert (job["state"], job["attempts"]) == ("succeeded", 1), job
            workers = [line for line in started if line.split()[0] == name]
            assert len(workers) == job["workers"], started
            made = cli("job", "outputs", job["id"], "--cat", "made").stdout
            assert made == f"made by {name}\n"
        assert "all equal" in cli("replay").stdout


def _all_ended(cli: Cli) -> dict[str, dict[str, Any]] | None:
    items = cli.json("job", "list", "--all", "--limit", "1000")["items"]
    assert len(items) == len({item["name"] for item in items}), "one submission is one job"
    ended = all(item["state"] in ("succeeded", "failed", "cancelled") for item in items)
    return {item["name"]: item for item in items} if ended else None
