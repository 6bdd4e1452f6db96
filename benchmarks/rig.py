"""A network of its own for a benchmark, up in a process of its own; taken down with its folder at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

COMMAND = [sys.executable, "-P", "-m", "maillage.interfaces.cli"]
SITES = ("paris", "marseille", "mulhouse")
GIVE_UP_S = 300.0

# Three sites that promise far more nodes than the machine has CPUs: for jobs that need next to none.
WIDE = """
name: wide
sites:
{sites}
"""
WIDE_SITE = """
  - id: {name}
    place: {{lat: 48.0, lon: 2.0, country: FR}}
    grid: {{zone: FR, connection_mw: 1.0}}
    cooling: {{kind: dry, supply_c: 40}}
    pools: [{{id: cpu, accelerator: cpu, nodes: 64, cpus_per_node: 8, memory_gib_per_node: 64,
              nodes_per_domain: 16, engine: {{kind: local}}}}]
"""


class Up:
    """A network that is up. `session()` is an HTTP client that may do everything."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("MAILLAGE_")}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: what was compiled once is kept
        self.env["MAILLAGE_DATA"] = str(data)
        if "MAILLAGE_CACHE" in os.environ:
            self.env["MAILLAGE_CACHE"] = os.environ["MAILLAGE_CACHE"]

    def run(self, *words: str) -> str:
        done = subprocess.run([*COMMAND, *words], env=self.env, check=True, capture_output=True, text=True)
        return done.stdout

    @property
    def server(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "server.json").read_text())
        return found

    def cpu_s(self) -> float:
        """CPU seconds that the server has used, its engines' helpers not counted."""
        used = psutil.Process(self.server["pid"]).cpu_times()
        return float(used.user + used.system)

    def session(self, connections: int = 1) -> aiohttp.ClientSession:
        token = (self.data / "admin.token").read_text().strip()
        return aiohttp.ClientSession(
            f"{self.server['url']}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(limit=connections),
        )


@contextmanager
def network(wide: bool = False) -> Iterator[Up]:
    """The packaged laptop network, or a wide one."""
    folder = Path(tempfile.mkdtemp(prefix="maillage-bench-"))
    up = Up(folder / "data")
    words = ["up", "--detach", "--port", "0"]
    if wide:
        file = folder / "wide.yaml"
        file.write_text(WIDE.format(sites="".join(WIDE_SITE.format(name=name) for name in SITES)))
        words += ["--network", str(file)]
    try:
        up.run(*words)
        yield up
    finally:
        if (up.data / "server.json").exists():
            up.run("down")
        shutil.rmtree(folder, ignore_errors=True)


async def answered(response: aiohttp.ClientResponse) -> Any:
    assert response.status < 300, f"{response.status}: {await response.text()}"
    return await response.json()


async def drain(session: aiohttp.ClientSession) -> None:
    """Close every site, so that what is submitted waits."""
    for site in SITES:
        async with session.post(f"sites/{site}/drain", json={"reason": "benchmark"}) as response:
            await answered(response)


async def live(session: aiohttp.ClientSession) -> bool:
    async with session.get("jobs?state=live&limit=1") as response:
        return bool((await answered(response))["items"])


def give_up_at() -> float:
    return time.monotonic() + GIVE_UP_S
