"""The first page keeps its word: its Python runs, its commands exist, its layers are the contract's."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.real.cli_rig import network

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_its_python_runs(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with network(tmp_path) as cli:
        ran = subprocess.run(
            [sys.executable, "-c", source], env=cli.env, capture_output=True, text=True, check=False
        )
    assert ran.returncode == 0, ran.stderr
    state, energy_kwh = ran.stdout.split()
    assert state == "succeeded"
    assert float(energy_kwh) > 0


def test_its_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`?make (\w+)", README))
    assert {"demo", "test", "check"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_its_layers_are_those_of_the_contract() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = [c["layers"] for c in config["tool"]["importlinter"]["contracts"] if c["id"] == "layers"]
    built = [name for layer in layers if "(" not in layer for name in re.findall(r"\w+", layer)]
    picture = README[README.index("## The picture") : README.index("## What is measured")]
    places = [picture.index(f" {name}") for name in built if name != "errors"]
    assert places == sorted(places)
