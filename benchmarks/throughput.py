"""Short jobs to completion per second: submitted in batches of 100, until the last has ended.

    python benchmarks/throughput.py [--jobs 2000] [--repeats 3]

The local engine's no-op (`command: [":"]`) is decided, logged, ordered, reported and billed as any job,
but is no process; `true` is one, with its supervisor, folder and log. `narrow` is the packaged network (24
promised CPUs), `wide` one of 1,536. Slurm runs `true` as one array beside it, if it is there.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

import aiohttp
from noise import Figures, alone, spread
from rig import Up, answered, give_up_at, live, network
from slurm_peer import cluster, completion, installed

BATCH = 100
PROCESSES = 200  # jobs that are processes, of a repeat


def batch(command: str, count: int) -> dict[str, Any]:
    spec = {"name": "short", "command": [command], "time_limit": "1m"}
    return {"jobs": [{"spec": spec} for _ in range(count)]}


async def run(session: aiohttp.ClientSession, command: str, jobs: int) -> None:
    for first in range(0, jobs, BATCH):
        async with session.post("./jobs:batch", json=batch(command, min(BATCH, jobs - first))) as response:
            items = (await answered(response))["items"]
            assert all("id" in item for item in items), items[0]
    give_up = give_up_at()
    while await live(session):
        assert time.monotonic() < give_up, "the jobs do not end"
        await asyncio.sleep(0.02)


async def timed(up: Up, command: str, jobs: int, repeats: int) -> Figures:
    rates, cpu_ms = [], []
    async with up.session() as session:
        await run(session, command, 50)  # warm
        for _ in range(repeats):
            cpu_s, began_s = up.cpu_s(), time.perf_counter()
            await run(session, command, jobs)
            rates.append(jobs / (time.perf_counter() - began_s))
            cpu_ms.append((up.cpu_s() - cpu_s) * 1000 / jobs)
    return {"per_s": spread(rates), "server_cpu_ms": spread(cpu_ms, 2), "jobs": jobs}


def measure(jobs: int = 2_000, repeats: int = 3) -> Figures:
    figures: Figures = {}
    for name, wide in (("narrow", False), ("wide", True)):
        with network(wide) as up:
            figures[f"no_op_{name}"] = asyncio.run(timed(up, ":", jobs, repeats))
            figures[f"true_{name}"] = asyncio.run(timed(up, "true", PROCESSES, repeats))
    if not installed():
        return figures | {"slurm": "not run: slurm-wlm is not installed"}
    with cluster() as slurm:
        rates = [completion(slurm, PROCESSES) for _ in range(repeats)]
        return figures | {"slurm": {"per_s": spread(rates), "jobs": PROCESSES, "version": slurm.version}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    alone(lambda: measure(given.jobs, given.repeats))
