"""From sending a submission to the job's own first line: p50 and p99 over many jobs, one after the other.

    python benchmarks/start_latency.py [--jobs 200]

The way: HTTP, the log on disk, a decision, the site's agent over its held call, the engine, a supervisor,
bash. The job itself writes the time at which it runs. The network is the packaged one, otherwise idle;
Slurm the same way beside it (`sbatch` to the first line of its script), if it is there.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
from noise import Figures, alone, percentiles
from rig import answered, give_up_at, live, network
from slurm_peer import Slurm, cluster, installed

LINE = 'printf "%s\\n" "$EPOCHREALTIME" > "{file}.tmp" && mv "{file}.tmp" "{file}"\n'
SLURM_JOBS = 10  # they take seconds each
LOOK_S = 0.002


async def started_at(file: Path) -> float:
    give_up = give_up_at()
    while not file.exists():
        assert time.monotonic() < give_up, f"{file.name} did not start"
        await asyncio.sleep(LOOK_S)
    return float(file.read_text())


async def one(session: aiohttp.ClientSession, file: Path) -> float:
    """Milliseconds from before the submission is sent to the script's first line."""
    spec = {"name": "start", "script": LINE.format(file=file), "time_limit": "1m"}
    sent_s = time.time()
    async with session.post("jobs", json={"spec": spec}) as response:
        await answered(response)
    taken_ms = (await started_at(file) - sent_s) * 1000
    while await live(session):
        await asyncio.sleep(0.01)
    return taken_ms


async def of_maillage(jobs: int, folder: Path) -> Figures:
    with network() as up:
        async with up.session() as session:
            for number in range(5):
                await one(session, folder / f"warm-{number}")
            taken_ms = [await one(session, folder / f"job-{number}") for number in range(jobs)]
    return percentiles(taken_ms, 1)


def of_slurm(slurm: Slurm, folder: Path) -> Figures:
    taken_ms = []
    for number in range(SLURM_JOBS):
        file = folder / f"slurm-{number}"
        script = folder / f"slurm-{number}.sh"
        script.write_text("#!/bin/bash\n" + LINE.format(file=file))
        sent_s = time.time()
        subprocess.run(
            ["sbatch", "--output=/dev/null", script], env=slurm.env, check=True, capture_output=True
        )
        taken_ms.append((asyncio.run(started_at(file)) - sent_s) * 1000)
        time.sleep(0.5)
    return percentiles(taken_ms, 1) | {"version": slurm.version}


def measure(jobs: int = 200) -> Figures:
    with tempfile.TemporaryDirectory(prefix="maillage-start-") as name:
        folder = Path(name)
        figures: Figures = {"unit": "ms", "maillage": asyncio.run(of_maillage(jobs, folder))}
        if not installed():
            return figures | {"slurm": "not run: slurm-wlm is not installed"}
        with cluster() as slurm:
            return figures | {"slurm": of_slurm(slurm, folder)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    given = parser.parse_args()
    alone(lambda: measure(given.jobs))
