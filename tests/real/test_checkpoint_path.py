"""A script that knows nothing of maillage goes on at another site from where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.cli_rig import Cli, network, until

TRAIN = """
import json, pathlib, time
folder = pathlib.Path("checkpoints")
folder.mkdir(exist_ok=True)
state = folder / "state.json"
step = json.loads(state.read_text())["step"] if state.exists() else 0
print("from step", step, flush=True)
while step < 60:
    step += 1
    part = folder / "state.json.tmp"
    part.write_text(json.dumps({"step": step}))
    part.replace(state)
    time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with network(tmp_path_factory.mktemp("checkpoint-path")) as up:
        yield up


def test_an_unmodified_script_resumes_at_another_site(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    spec = "name: plain\nworkdir: .\ncommand: [python, train.py]\n"
    spec += "checkpoint: {path: ./checkpoints, interval: 1s, grace: 2s}\n"
    cli("run", cli.spec(tmp_path, spec))

    def kept() -> Any:
        return cli.json("job", "show", "plain")["runs"][0]["checkpoint"]

    until(kept)
    first_site = cli.json("job", "show", "plain")["site"]
    cli("site", "drain", first_site, "-y")
    cli("job", "requeue", "plain")
    job = until(lambda: (found := cli.json("job", "show", "plain"))["state"] == "succeeded" and found)
    first, second = job["runs"]
    assert second["site"] != first_site and second["restored_from"] == first["checkpoint"]
    says = cli("job", "logs", "plain", "--attempt", "2").stdout
    assert says.startswith("from step ") and int(says.split()[2]) > 0, says
