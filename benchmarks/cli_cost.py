"""CPU seconds of the commonest commands, each a process of its own, over a network with some jobs.

python benchmarks/cli_cost.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import time
from pathlib import Path

from noise import Figures, alone, spread
from rig import COMMAND, Up, network
from throughput import run

JOBS = 60
COMMANDS = (
    "--version",
    "--help",
    "job list",
    "job list -o json",
    "job show JOB",
    "job why JOB",
    "site list",
    "status",
    "run FILE --dry-run",
    "run FILE",
)


def spent(words: list[str], env: dict[str, str]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    began_s = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{words}: {told.decode()}"
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began_s


async def fill(up: Up) -> str:
    """Some ended jobs; the id of the newest."""
    async with up.session() as session:
        await run(session, ":", JOBS)
        async with session.get("jobs?limit=1") as response:
            return str((await response.json())["items"][0]["id"])


def measure(repeats: int = 9) -> Figures:
    figures: Figures = {}
    with network() as up:
        file = Path(up.data).parent / "short.yaml"
        file.write_text("name: short\ncommand: ['true']\ntime_limit: 1m\n")
        real = {"JOB": asyncio.run(fill(up)), "FILE": str(file)}
        for command in COMMANDS:
            words = [real.get(word, word) for word in command.split()]
            spent(words, up.env)  # warm: the sources are compiled once
            calls = [spent(words, up.env) for _ in range(repeats)]
            figures[command] = {
                "cpu_s": spread([cpu_s for cpu_s, _ in calls], 3),
                "wall_s": spread([wall_s for _, wall_s in calls], 3),
            }
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    alone(lambda: measure(given.repeats))
