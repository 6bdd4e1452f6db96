"""The command when it is interrupted while it loads, or has nowhere to write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maillage.interfaces import entry

# Ctrl-C at the worst moment: while the command line is imported.
INTERRUPTED = """
import builtins, runpy, sys
true_import = builtins.__import__
def interrupt(name, *rest, **more):
    if name.startswith("rich_click"):
        raise KeyboardInterrupt
    return true_import(name, *rest, **more)
builtins.__import__ = interrupt
runpy.run_module("maillage.interfaces.entry", run_name="__main__")
"""


def test_ctrl_c_while_it_loads_ends_it_without_a_traceback() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (entry.INTERRUPTED_EXIT, "")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_that_cannot_be_written_is_said_in_a_line(option: str) -> None:
    command = [sys.executable, "-m", "maillage.interfaces.entry", option]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: the output cannot be written (No space left")
    assert "Traceback" not in ran.stderr
