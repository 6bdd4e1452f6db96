"""A PostgreSQL of the tests' own: a folder, a Unix socket, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def binaries() -> Path | None:
    """The folder of initdb and postgres, where both and the driver are there."""
    if find_spec("psycopg") is None:
        return None
    folders = [Path(found).parent for name in ("initdb", "postgres") if (found := shutil.which(name))]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((one for one in folders if (one / "initdb").exists() and (one / "postgres").exists()), None)


def _as_postgres(folder: Path) -> dict[str, object]:
    """PostgreSQL refuses to run as root: become its own user then."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database."""
    binary = binaries()
    assert binary is not None
    folder = Path(tempfile.mkdtemp(prefix="maillage-pg-", dir="/tmp"))
    who = _as_postgres(folder)
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run(
        [binary / "initdb", "-D", data, "-U", "maillage", "-A", "trust", "-N"], check=True, **quiet, **who
    )
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
    process = subprocess.Popen([binary / "postgres", "-D", data, *options], **quiet, **who)
    try:
        _wait(folder, process)
        yield f"postgresql+psycopg://maillage@/postgres?host={folder}"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


def _wait(folder: Path, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    for _ in range(600):
        assert process.poll() is None, "postgres ended"
        try:
            psycopg.connect(f"host={folder} user=maillage dbname=postgres").close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise AssertionError("postgres did not answer")
