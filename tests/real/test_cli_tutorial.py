"""The first tutorial, followed word by word: every command of it is run, and answers as it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.real.cli_rig import SLOW_S

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorials" / "first-job.md"
FIGURE = r"-?\d[\d.,:]*(e-?\d+)?(\s?([µnm]|ms|s|[mhd]\d+[smh]|[µmkMG]?Wh|[nµmk]?g)\b)?"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)


def shape(text: str) -> str:
    """Text with ids and figures as signs, and blanks as one blank."""
    text = re.sub(r"\bj[0-9a-z]{13}\b", "<id>", text)
    return re.sub(r"[ \t]+", " ", re.sub(FIGURE, "#", text)).strip()


def steps() -> list[tuple[str, str]]:
    """Each command of the tutorial with what it is said to print."""
    found: list[tuple[str, str]] = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


def test_the_first_job_goes_as_the_tutorial_says(tmp_path: Path) -> None:
    (spec,) = blocks("yaml")
    (tmp_path / "job.yaml").write_text(spec)
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAILLAGE_")}
    env |= {"MAILLAGE_DATA": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    try:
        for command, printed in steps():
            words = shlex.split(command)
            assert words[0] == "maillage"
            ran = subprocess.run(
                [sys.executable, "-m", "maillage.interfaces.cli", *words[1:]],
                cwd=tmp_path,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SLOW_S,
            )
            assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
            told = f"{command}\n{ran.stdout}"
            assert shape(ran.stdout).startswith(shape(printed)), told
    finally:
        down = [sys.executable, "-m", "maillage.interfaces.cli", "down"]
        subprocess.run(down, env=env, check=True, capture_output=True, timeout=SLOW_S)
