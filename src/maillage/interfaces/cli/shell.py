"""`maillage shell`: a terminal inside a running job, over one websocket."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from maillage.errors import Conflict, Unreachable, UserError
from maillage.interfaces.cli.output import connected, note

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client

BLOCK_BYTES = 65536


@click.command()
@click.argument("job")
@click.option("--worker", type=click.IntRange(0), default=0, show_default=True, help="Beside which worker.")
@connected
def shell(client: Client, job: str, worker: int) -> None:
    """A shell in a running job's work folder and environment; `exit` leaves it, the job goes on.

    \b
    Examples:
      maillage shell train-gpt
      echo 'ls $MAILLAGE_CHECKPOINT_DIR; exit' | maillage shell train-gpt
    """
    from maillage.interfaces.sdk.wire import PREFIX, segment

    found = client.job(job)  # a clear error comes from here, a websocket has none
    if found.ended:
        raise Conflict(f"job {found.id} has ended ({found.state}); there is nothing to enter")
    line = client.connection
    address = f"ws{line.url.removeprefix('http')}{PREFIX}/jobs/{segment(found.id)}/shell?worker={worker}"
    code = asyncio.run(_session(address, line.token))
    if code:
        raise Exit(code if 0 < code < 256 else 1)


async def _session(address: str, token: str) -> int:
    """Join terminal and websocket; the shell's exit code."""
    import websockets

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with websockets.connect(
            address, additional_headers=headers, max_size=1 << 22, proxy=None, open_timeout=20
        ) as line:
            with _raw_terminal():
                return await _join(line)
    except websockets.InvalidStatus as refused:
        from maillage.interfaces.sdk.wire import trouble_of

        answer = refused.response
        raise trouble_of(answer.status_code, bytes(answer.body or b""), address.partition("?")[0]) from None
    except websockets.ConnectionClosed as closed:
        raise _closed(closed) from None
    except (OSError, TimeoutError, websockets.WebSocketException) as trouble:
        raise Unreachable(f"the shell cannot be reached ({trouble})") from None


async def _join(line: Any) -> int:
    loop = asyncio.get_running_loop()
    typing = asyncio.create_task(_send_keys(line))
    if sys.stdin.isatty():
        await line.send(_size())
        loop.add_signal_handler(signal.SIGWINCH, lambda: loop.create_task(line.send(_size())))
    try:
        async for frame in line:
            if isinstance(frame, bytes):
                os.write(sys.stdout.fileno(), frame)
            elif (told := json.loads(frame)) and "exit" in told:
                return int(told["exit"] or 0)
            elif "error" in told:
                raise Conflict(str(dict(told["error"]).get("message")))
        return 0
    finally:
        typing.cancel()
        if sys.stdin.isatty():
            loop.remove_signal_handler(signal.SIGWINCH)


async def _send_keys(line: Any) -> None:
    """What is typed, as it is typed; at the end of a pipe, Ctrl-D."""
    loop = asyncio.get_running_loop()
    while block := await _read(loop):
        await line.send(block)
    await line.send(b"\x04")


async def _read(loop: asyncio.AbstractEventLoop) -> bytes:
    """One block of stdin. A regular file cannot be waited for, and is always ready."""
    descriptor = sys.stdin.fileno()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:
        return os.read(descriptor, BLOCK_BYTES)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, BLOCK_BYTES)


def _size() -> str:
    columns, lines = shutil.get_terminal_size()
    return json.dumps({"resize": [lines, columns]})


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Keys go through one by one, Ctrl-C too; put back whatever happens."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead is kept
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        note("")


def _closed(closed: Any) -> UserError:
    reason = str(getattr(closed.rcvd, "reason", "") or "")
    return Conflict(reason) if reason else Unreachable("the line to the shell broke; the job goes on")
