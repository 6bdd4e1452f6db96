"""A control plane alone in a process, to be killed: it submits without end and says what it was answered.

`python -m tests.real.served FOLDER` writes `+ KEY JOB` to stdout after each durable answer.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from maillage.control.clock import WallClock
from maillage.control.service import Service, Submission
from maillage.control.store import Store
from maillage.scheduling.policy import DEFAULT
from tests.simulation.plane_rig import network, spec


async def submit_without_end(folder: Path, name: str) -> None:
    store = Store.open(folder / "maillage.db")
    service = Service(network(), store, folder, {}, DEFAULT, WallClock())
    service.start()
    print("ready", flush=True)
    await asyncio.gather(*(_person(service, f"{name}-{number}") for number in range(4)))


async def _person(service: Service, who: str) -> None:
    count = 0
    while True:
        count += 1
        key = f"{who}-{count}"
        items = [Submission(spec(array=None if count % 3 else 2), key)]
        answers = await service.submit(items, org="org", project="default", user=who)
        assert isinstance(answers[0], dict)
        print(f"+ {key} {answers[0]['id']}", flush=True)


if __name__ == "__main__":
    asyncio.run(submit_without_end(Path(sys.argv[1]), sys.argv[2]))
