"""The kernel is ordinary Python too: the golden trace gives the same starts without the compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from maillage.scheduling.kernel.compilation import cache_folder, sources_hash

ROOT = Path(__file__).parents[2]


def test_golden_traces_without_the_compiler() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/golden", "-k", "twelve or 3-easy", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_the_cache_folder_changes_with_the_sources() -> None:
    assert cache_folder().name == f"kernel-{sources_hash()}"
