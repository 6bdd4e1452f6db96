"""What an installation needs besides code is in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = {
    "maillage/networks/laptop.yaml",
    "maillage/networks/france-25k.yaml",
    "maillage/networks/campus-3gw.yaml",
    "maillage/feeds/data/fr_2024.npz",
    "maillage/interfaces/console/console.js",
    "maillage/interfaces/console/france.json",
    "maillage/control/migrations/env.py",
    "maillage/py.typed",
}


def test_the_wheel_has_all_that_a_network_needs(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path,
            ROOT,
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("maillage-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert names >= NEEDED
    assert any(name.startswith("maillage/interfaces/console/templates/") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]
    assert "maillage = maillage.interfaces" in entry_points
