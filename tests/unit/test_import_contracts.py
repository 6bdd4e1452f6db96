"""The import contracts bite: a planted clock and a stray module each break what `make check` runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the package that can be spoilt."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def test_make_check_runs_it_and_stops_where_it_fails() -> None:
    dry = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in dry.stdout.splitlines() if "lint-imports" in line]
    assert lines == [".venv/bin/lint-imports"], "as a step of its own, so that its failure ends the target"


def test_the_tree_as_it_stands_keeps_its_contracts(checkout: Path) -> None:
    result = lint(checkout)
    assert result.returncode == 0, result.stdout
    assert "2 kept, 0 broken" in result.stdout


def test_a_clock_in_a_decision_is_found(checkout: Path) -> None:
    module = checkout / "src/maillage/scheduling/feasibility.py"
    module.write_text(module.read_text().replace("from dataclasses", "import time\nfrom dataclasses", 1))
    result = lint(checkout)
    assert result.returncode != 0
    assert "maillage.scheduling.feasibility -> time" in " ".join(result.stdout.split())


def test_a_module_that_stands_nowhere_is_found(checkout: Path) -> None:
    (checkout / "src/maillage/stray.py").write_text('"""Stands nowhere."""\n')
    result = lint(checkout)
    assert result.returncode != 0
    assert "stray" in result.stdout


def test_an_import_upward_is_found(checkout: Path) -> None:
    module = checkout / "src/maillage/network/model.py"
    module.write_text(module.read_text() + "\nimport maillage.control.protocol  # noqa\n")
    assert lint(checkout).returncode != 0
