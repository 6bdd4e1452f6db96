"""What a worker finds in its environment: little, clean, and in the ecosystem's language."""

from __future__ import annotations

import json
import os
from pathlib import Path

from maillage.engines.local.records import RunFolder
from maillage.engines.port import RunOrder

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_environment(order: RunOrder, folder: RunFolder, site: str, python: str) -> dict[str, str]:
    """What all workers of a run share. Nothing comes from the environment of this process.

    The user's own may replace what is a default (PATH, HOME, thread counts), not what the network says.
    """
    threads = str(max(1, order.cpus_per_worker))
    defaults = {
        "PATH": f"{Path(python).parent}{os.pathsep}{SYSTEM_PATH}",
        "HOME": str(folder.path / "home"),
        "TMPDIR": str(folder.path / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # the log follows the job
        "OMP_NUM_THREADS": threads,  # as torchrun: more threads than CPUs only slow each other down
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    ours = {
        "MAILLAGE_JOB_ID": order.job_id,
        "MAILLAGE_RUN_ID": order.run_id,
        "MAILLAGE_ATTEMPT": str(order.attempt),
        "MAILLAGE_SITE": site,
        "MAILLAGE_POOL": order.pool,
        "MAILLAGE_CHECKPOINT_DIR": str(order.checkpoint_folder(folder.path)),
        "MAILLAGE_OUTPUT_DIR": str(folder.path / "output"),
        "MAILLAGE_ARRAY_INDEX": str(order.array_index) if order.array_index >= 0 else "",
    }
    if order.service:
        ours["MAILLAGE_SERVICE_FILE"] = str(folder.service_file)
        ours["MAILLAGE_SERVICE"] = json.dumps(order.service)
    return {**defaults, **order.env, **order.secrets, **ours}


def rank_environments(order: RunOrder, master_port: int) -> tuple[dict[str, str], ...]:
    """What each worker has of its own, in rank order, as torchrun says it.

    >>> order = RunOrder("j.1", "j", 1, "t", "o", "p", "cpu", 3, ((4, 2), (7, 1)))
    >>> [(e["RANK"], e["LOCAL_RANK"], e["GROUP_RANK"]) for e in rank_environments(order, 29500)]
    [('0', '0', '0'), ('1', '1', '0'), ('2', '0', '1')]
    """
    placement = order.placement or ((0, order.workers),)
    ranks: list[dict[str, str]] = []
    for group, (node, here) in enumerate(placement):
        for local in range(here):
            ranks.append(
                {
                    "RANK": str(len(ranks)),
                    "WORLD_SIZE": str(order.workers),
                    "LOCAL_RANK": str(local),
                    "LOCAL_WORLD_SIZE": str(here),
                    "GROUP_RANK": str(group),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(master_port),
                    "MAILLAGE_NODE": str(node),
                }
            )
    return tuple(ranks)


def command_of(order: RunOrder, python: str) -> tuple[str, ...]:
    """The argv; a service's `python` is the very interpreter that maillage runs in."""
    if order.service and order.command[:1] == ("python",):
        return (python, *order.command[1:])
    return order.command
