"""A real Slurm cluster of one node on this machine, as a peer: its own munge key, ports, folders, processes.

    python benchmarks/slurm_peer.py        submits 20 jobs and prints what became of them

Needs Debian's slurm-wlm and munge. Nothing of a Slurm that is there already is touched; the daemons
started here are ended by their process.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from noise import Figures, alone

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
READY_S = 30.0

CONFIG = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
ReturnToService=2
NodeName=n1 NodeAddr=127.0.0.1 Port={slurmd_port} CPUs=24 State=UNKNOWN
PartitionName=main Nodes=n1 Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.version = self.run("sbatch", "--version").strip()

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, check=True, capture_output=True, text=True, timeout=30)
        return done.stdout

    def is_idle(self) -> bool:
        shown = subprocess.run(
            ["scontrol", "-o", "show", "node", "n1"],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        return "State=IDLE " in shown.stdout

    def drain(self) -> None:
        self.run("scontrol", "update", "nodename=n1", "state=drain", "reason=benchmark")

    def resume(self) -> None:
        self.run("scontrol", "update", "nodename=n1", "state=resume")


def installed() -> bool:
    return all(shutil.which(program, path=SYSTEM_PATH) for program in PROGRAMS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def _daemon(*command: str, env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def cluster() -> Iterator[Slurm]:
    """A cluster with one idle node of 24 CPUs (claimed: as many as the laptop network's)."""
    folder = Path(tempfile.mkdtemp(prefix="maillage-slurm-"))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            folder=folder,
            ctld_port=_free_port(),
            slurmd_port=_free_port(),
        )
    )
    env = os.environ | {"SLURM_CONF": str(config), "PATH": SYSTEM_PATH}
    munge = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge_files = [f"--{what}={folder}/munge.{end}" for what, end in munge.items()]
    try:
        with ExitStack() as daemons:
            daemons.enter_context(_daemon("munged", "--foreground", "--force", *munge_files, env=env))
            _until(lambda: (folder / "munge.socket").exists(), folder)
            daemons.enter_context(_daemon("slurmctld", "-D", "-f", str(config), env=env))
            daemons.enter_context(_daemon("slurmd", "-D", "-N", "n1", "-f", str(config), env=env))
            slurm = Slurm(env)
            _until(slurm.is_idle, folder)
            yield slurm
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until(holds: object, folder: Path) -> None:
    give_up = time.monotonic() + READY_S
    while not holds():  # type: ignore[operator]
        if time.monotonic() > give_up:
            logs = "\n".join(log.read_text()[-1500:] for log in folder.glob("*.log"))
            raise RuntimeError(f"the Slurm cluster did not come up:\n{logs}")
        time.sleep(0.1)


def completion(slurm: Slurm, jobs: int = 100) -> float:
    """Jobs per second from the first submission to the last end, `true` each, by one array."""
    began_s = time.perf_counter()
    slurm.run("sbatch", "--parsable", "--output=/dev/null", f"--array=1-{jobs}", "--wrap=true")
    while slurm.run("squeue", "-h"):
        time.sleep(0.05)
    return jobs / (time.perf_counter() - began_s)


def _try() -> Figures:
    with cluster() as slurm:
        return {"version": slurm.version, "completed_per_s": round(completion(slurm, 20), 1)}


if __name__ == "__main__":
    alone(_try)
