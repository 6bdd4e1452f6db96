"""Submissions per second over HTTP, each answered when durable; Slurm's sbatch beside it, if there.

    python benchmarks/submission.py [--repeats 5]

All sites are drained, as is the Slurm node, so that only taking the job in is timed. One at a time over
one connection, by eight connections, in batches of 100; and as a person would, a process for each
(`maillage run FILE` against `sbatch FILE`).
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
from noise import Figures, alone, spread
from rig import COMMAND, Up, answered, drain, network
from slurm_peer import cluster, installed

ALONE, EIGHT, BATCHES, CALLS = 200, 400, 20, 25  # of a repeat
BATCH = 100


def asked(number: int) -> dict[str, Any]:
    spec = {"name": f"short-{number}", "command": ["true"], "time_limit": "1m"}
    return {"spec": spec, "idempotency_key": uuid.uuid4().hex}


async def one_at_a_time(session: aiohttp.ClientSession) -> int:
    for number in range(ALONE):
        async with session.post("jobs", json=asked(number)) as response:
            await answered(response)
    return ALONE


async def eight_at_once(session: aiohttp.ClientSession) -> int:
    async def some(first: int) -> None:
        for number in range(first, first + EIGHT // 8):
            async with session.post("jobs", json=asked(number)) as response:
                await answered(response)

    await asyncio.gather(*(some(first) for first in range(0, EIGHT, EIGHT // 8)))
    return EIGHT


async def batched(session: aiohttp.ClientSession) -> int:
    for _ in range(BATCHES):
        jobs = [asked(number) for number in range(BATCH)]
        async with session.post("./jobs:batch", json={"jobs": jobs}) as response:
            items = (await answered(response))["items"]
            assert all("id" in item for item in items), items[0]
    return BATCHES * BATCH


async def over_http(up: Up, repeats: int) -> Figures:
    figures: Figures = {}
    ways = {"one_at_a_time": one_at_a_time, "eight_connections": eight_at_once, "batches_of_100": batched}
    async with up.session(connections=8) as session:
        await drain(session)
        await one_at_a_time(session)  # warm
        for name, way in ways.items():
            rates, cpu_ms = [], []
            for _ in range(repeats):
                cpu_s, began_s = up.cpu_s(), time.perf_counter()
                count = await way(session)
                rates.append(count / (time.perf_counter() - began_s))
                cpu_ms.append((up.cpu_s() - cpu_s) * 1000 / count)
            figures[name] = {"per_s": spread(rates), "server_cpu_ms": spread(cpu_ms, 2)}
    return figures


def by_process(command: list[str], env: dict[str, str] | None, repeats: int) -> Figures:
    """Calls per second of a command that submits one job, one call after the other."""
    rates = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        for _ in range(CALLS):
            subprocess.run(command, env=env, check=True, capture_output=True)
        rates.append(CALLS / (time.perf_counter() - began_s))
    return {"per_s": spread(rates)}


def by_eight(command: list[str], env: dict[str, str], repeats: int) -> Figures:
    """The same with eight calls at a time."""

    def call(_: int) -> None:
        subprocess.run(command, env=env, check=True, capture_output=True)

    rates = []
    with ThreadPoolExecutor(8) as callers:
        for _ in range(repeats):
            began_s = time.perf_counter()
            list(callers.map(call, range(8 * CALLS)))
            rates.append(8 * CALLS / (time.perf_counter() - began_s))
    return {"per_s": spread(rates)}


def measure(repeats: int = 5) -> Figures:
    with network() as up:
        figures = asyncio.run(over_http(up, repeats))
        file = Path(up.data).parent / "short.yaml"
        file.write_text("name: short\ncommand: ['true']\ntime_limit: 1m\n")
        figures["maillage_run"] = by_process([*COMMAND, "run", str(file)], up.env, repeats)
    if not installed():
        return figures | {"sbatch": "not run: slurm-wlm is not installed"}
    with cluster() as slurm:
        slurm.drain()
        command = ["sbatch", "--parsable", "--output=/dev/null", "--wrap=true"]
        by_process(command, slurm.env, 1)  # warm
        figures["sbatch"] = by_process(command, slurm.env, repeats) | {"version": slurm.version}
        figures["sbatch_by_eight"] = by_eight(command, slurm.env, repeats)
    sbatch = figures["sbatch"]["per_s"]["median"]
    for name in ("one_at_a_time", "eight_connections", "batches_of_100", "maillage_run"):
        figures[name]["times_sbatch"] = round(figures[name]["per_s"]["median"] / sbatch, 2)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    alone(lambda: measure(given.repeats))
