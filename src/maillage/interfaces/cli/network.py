"""`maillage up`, `down`, `status`: a whole network in one process on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import rich_click as click
from click.exceptions import Exit

from maillage.errors import Conflict, NotFound, TimedOut, Unreachable
from maillage.interfaces import settings
from maillage.interfaces.cli import output, words
from maillage.interfaces.cli.output import emit, formatted, note, stderr
from maillage.interfaces.cli.process import end, leader_pid

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
DEFAULT_PORT = 8470


@click.command()
@click.option(
    "--network",
    "network_file",
    type=click.Path(path_type=Path),
    help="The network's YAML [the packaged laptop].",
)
@click.option("--data", metavar="DIR", help="Data folder [MAILLAGE_DATA].")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help=f"Port on 127.0.0.1, 0 for any [{DEFAULT_PORT}, or any when taken].",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--beyond-loopback", is_flag=True, help="Really listen where other machines reach it, unencrypted."
)
@click.option(
    "--artifacts",
    metavar="WHERE",
    envvar="MAILLAGE_ARTIFACTS",
    default="",
    help="A folder or s3://BUCKET/PREFIX?endpoint=URL [MAILLAGE_ARTIFACTS, or in the data folder].",
)
@click.option("-d", "--detach", is_flag=True, help="Return when it is ready; `maillage down` ends it.")
@click.option(
    "--timeout", "timeout_s", type=float, default=START_TIMEOUT_S, show_default=True, help="With --detach."
)
def up(
    network_file: Path | None,
    data: str | None,
    port: int | None,
    host: str,
    beyond_loopback: bool,
    artifacts: str,
    detach: bool,
    timeout_s: float,
) -> None:
    """Bring up a network on this machine: API, scheduler, sites, gateway and console.

    \b
    Examples:
      maillage up                                  in the foreground, Ctrl-C ends it
      maillage up --detach                         returns when it is ready
      maillage up --network network.yaml --data /tmp/try --port 0
    """
    folder = settings.data_folder(data)
    chosen = network_file or packaged_network()
    if not chosen.is_file():
        raise NotFound(f"there is no network file {chosen}")
    if detach:
        options = ["--host", host] + (["--beyond-loopback"] if beyond_loopback else [])
        options += [] if port is None else ["--port", str(port)]
        options += ["--artifacts", artifacts] if artifacts else []
        _detach(chosen, folder, options, timeout_s)
        return
    from maillage.interfaces.server import run

    run(chosen.absolute(), folder, port, host=host, beyond_loopback=beyond_loopback, artifacts=artifacts)


def packaged_network() -> Path:
    """The laptop's network: beside the package when installed, at the top of a checkout."""
    package = Path(__file__).parents[2]
    for folder in (package / "networks", package.parents[1] / "networks"):
        if (folder / "laptop.yaml").is_file():
            return folder / "laptop.yaml"
    raise NotFound("the packaged laptop.yaml is missing; give --network FILE")


def _detach(network_file: Path, folder: Path, options: list[str], timeout_s: float) -> None:
    if (pid := leader_pid(folder)) is not None:
        record = settings.read_server(folder)
        where = f": {record.url}" if record and record.pid == pid else ""
        raise Conflict(
            f"a network is up already over {folder}{where} (pid {pid})\n"
            "End it with `maillage down`, or give this one another folder with --data."
        )
    from maillage.interfaces.folder import open_folder

    open_folder(folder)  # before anything of ours is in it: it refuses a folder of other things
    command = [sys.executable, "-P", "-m", "maillage.interfaces.cli", "up", "--data", str(folder)]
    command += ["--network", str(network_file.absolute()), *options]
    log = folder / "up.log"
    with log.open("ab") as stream:
        start_byte = stream.tell()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        record = _until_ready(child, folder, log, start_byte, timeout_s)
    except KeyboardInterrupt:
        child.terminate()
        raise
    click.echo(record.url)
    note(f"pid {record.pid}, data in {folder}, output in {log}; `maillage down` ends it")


def _until_ready(
    child: subprocess.Popen[bytes], folder: Path, log: Path, start_byte: int, timeout_s: float
) -> settings.ServerRecord:
    """Wait until our child answers, showing what it last said. A child that dies is told with its words."""
    began, told = time.monotonic(), stderr().is_terminal
    with stderr().status("starting") as status:
        while True:
            elapsed_s = time.monotonic() - began
            if (code := child.poll()) is not None:
                raise _died(code, log, start_byte)
            record = settings.read_server(folder)
            if record and record.pid == child.pid and is_ready(record.url):
                return record
            if elapsed_s > timeout_s:
                raise TimedOut(
                    f"it is not ready after {timeout_s:g} s; it goes on starting (pid {child.pid}), see {log}"
                )
            if elapsed_s > 5.0 and not told:
                note("starting; a first start on a machine compiles the scheduler, for up to a minute")
                told = True
            said = words.safe(_tail(log, start_byte, 1))
            status.update(f"starting, {words.duration(elapsed_s)}  [dim]{said[:100]}[/dim]")
            time.sleep(0.1)


def _died(code: int, log: Path, start_byte: int) -> Exit:
    """Its own error lines on our stderr, and its exit code as ours."""
    sys.stderr.write(_tail(log, start_byte, 30) + "\n")
    note(f"`maillage up` ended with exit code {code}; all it said is in {log}")
    return Exit(code if 0 < code < 128 else 1)


def _tail(log: Path, start_byte: int, count: int) -> str:
    with log.open("rb") as stream:
        stream.seek(max(start_byte, log.stat().st_size - 65536))
        lines = [line for line in stream.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(lines[-count:])


def is_ready(url: str, timeout_s: float = 2.0) -> bool:
    """Whether `/healthz` answers well. On this machine only, so without a library for it."""
    import http.client
    from urllib.parse import urlsplit

    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout_s)
    try:
        line.request("GET", "/healthz")
        return line.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


@click.command()
@click.option("--data", metavar="DIR", help="Data folder [MAILLAGE_DATA].")
@click.option(
    "--timeout", "timeout_s", type=float, default=STOP_TIMEOUT_S, show_default=True, help="Seconds to wait."
)
def down(data: str | None, timeout_s: float) -> None:
    """End the network of a data folder. Its jobs run on and are found again by the next `up`."""
    folder = settings.data_folder(data)
    pid = leader_pid(folder)
    if pid is None:
        note(f"no network is up in {folder}")
        return
    with stderr().status("stopping"):
        gone = end(pid, folder, timeout_s)
    if not gone:
        raise TimedOut(
            f"pid {pid} was asked to end and has not after {timeout_s:g} s; see {folder / 'up.log'}"
        )
    note(f"the network of {folder} is down (pid {pid})")


@click.command()
@click.option("--data", metavar="DIR", help="Data folder [MAILLAGE_DATA].")
@click.option("--url", metavar="URL", help="Address of the network [MAILLAGE_URL].")
@formatted(formats=("table", "json", "yaml"))
def status(data: str | None, url: str | None, fmt: str) -> None:
    """Is it up, since when, with how much work? Exit code 6 when it is not."""
    from maillage.interfaces.cli.output import connect

    folder = settings.data_folder(data)
    here = bool(data) or not (url or os.environ.get("MAILLAGE_URL") or settings.read_login())
    if here and settings.read_server(folder) and leader_pid(folder) is None:
        raise Unreachable(f"the network of {folder} is down; `maillage up` starts it again, with its work")
    with connect(url, data) as client:
        found = client.status()
        if fmt != "table":
            emit(found, fmt)
            return
        address, source = words.safe(client.connection.url), words.safe(client.connection.source)
        output.show(f"[green]up[/green]  {address}  [dim]({source})[/dim]")
        for key, value in found.items():
            output.show(f"  [dim]{key.replace('_', ' '):<12}[/dim] {_status_value(key, value)}")


def _status_value(key: str, value: Any) -> str:
    if key.endswith("_s"):
        return words.duration(value)
    if isinstance(value, dict):
        told = (f"{n} {name}" if isinstance(n, int) else f"{name} {n}" for name, n in value.items() if n)
        return words.safe(", ".join(told) or "none")
    return words.plain(value)
