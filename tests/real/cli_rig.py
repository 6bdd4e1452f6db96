"""A network of its own for a test module, and the command run against it as a person would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "maillage.interfaces.cli"]
SLOW_S = 240.0


class Cli:
    """The command with a data folder; every call is a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("MAILLAGE_")}
        self.env |= {
            "MAILLAGE_DATA": str(self.data),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
        }

    def __call__(
        self, *args: str, code: int | None = 0, text: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end; `code` is the exit code it must have (None: any)."""
        given = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
        ran = subprocess.run(
            [*COMMAND, *args],
            capture_output=True,
            text=True,
            timeout=SLOW_S,
            env=self.env | env,
            **given,  # type: ignore[arg-type]
        )
        told = f"maillage {' '.join(args)}: exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        assert "Traceback" not in ran.stderr, told
        assert code is None or ran.returncode == code, told
        return ran

    def json(self, *args: str, **kwargs: Any) -> Any:
        return json.loads(self(*args, "-o", "json", **kwargs).stdout)

    def start(self, *args: str, **kwargs: Any) -> subprocess.Popen[str]:
        """Run it beside the test; whoever starts it ends it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*COMMAND, *args], text=True, env=self.env, **(pipes | kwargs))

    def spec(self, folder: Path, text: str, name: str = "job.yaml") -> str:
        path = folder / name
        path.write_text(text)
        return str(path)

    @property
    def server(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "server.json").read_text())
        return found


@contextmanager
def network(folder: Path, **env: str) -> Iterator[Cli]:
    """A laptop network, up; taken down with all its jobs in the end."""
    cli = Cli(folder)
    cli.env |= env
    cli("up", "--detach", "--port", "0")
    try:
        yield cli
    finally:
        if cli("status", code=None).returncode == 0:
            for job in cli("job", "list", "--state", "live", "--all", "-o", "name").stdout.split():
                cli("job", "cancel", "-y", job, code=None)
            with contextlib.suppress(AssertionError):
                until(lambda: not cli("job", "list", "--state", "live", "-o", "name").stdout, 30.0)
        cli("down")


def until(holds: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true answer. Fails after `timeout_s`."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        if answer := holds():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not so within {timeout_s:g} s")


def kill(pid: int) -> None:
    """Kill -9 of a process that this test started, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text(), 20.0)
