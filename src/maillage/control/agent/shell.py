"""A person's shell: the far end of a websocket is a terminal in the run's own environment."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import termios

import aiohttp

from maillage.control.agent.line import Line, LineDown, Refused
from maillage.control.protocol import ShellOrder
from maillage.engines.port import Engine, Shells

_BLOCK = 16384
_GONE = 1  # the exit code of a shell that could not be


async def serve_shell(line: Line, engine: Engine, order: ShellOrder) -> None:
    """Dial out, open a terminal, carry bytes both ways until one end closes."""
    with contextlib.suppress(LineDown, Refused):  # the person has gone, or the network has
        async with line.shell(order.shell_id) as socket:
            master, slave = os.openpty()
            try:
                shell = None
                if isinstance(engine, Shells):
                    shell = await asyncio.to_thread(engine.open_shell, order.run_id, order.worker, slave)
                os.close(slave)
                if shell is None:
                    await socket.send_bytes(b"This worker is not running here (any more).\r\n")
                    await socket.send_str(json.dumps({"exit": _GONE}))
                else:
                    await _bridge(socket, master, shell)
            finally:
                os.close(master)


async def _bridge(
    socket: aiohttp.ClientWebSocketResponse, master: int, shell: subprocess.Popen[bytes]
) -> None:
    outward = asyncio.create_task(_outward(socket, master))
    inward = asyncio.create_task(_inward(socket, master))
    try:
        await asyncio.wait({outward, inward}, return_when=asyncio.FIRST_COMPLETED)
        if not outward.done():  # the person hung up
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGHUP)
        code = await _exit_code(shell)
        if not socket.closed:
            await socket.send_str(json.dumps({"exit": code}))
    finally:
        outward.cancel()
        inward.cancel()
        await asyncio.gather(outward, inward, return_exceptions=True)
        await _exit_code(shell)


async def _exit_code(shell: subprocess.Popen[bytes]) -> int:
    """How the shell ended; one that ignores the hang-up is ended."""
    try:
        code = await asyncio.to_thread(shell.wait, 2.0)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        code = await asyncio.to_thread(shell.wait)
    return code if code >= 0 else 128 - code


async def _outward(socket: aiohttp.ClientWebSocketResponse, master: int) -> None:
    """What the terminal says, until its last user is gone."""
    os.set_blocking(master, False)
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    while True:
        loop.add_reader(master, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(master)
        readable.clear()
        try:
            data = os.read(master, _BLOCK)
        except BlockingIOError:
            continue
        except OSError:  # EIO: nobody holds the terminal any more
            return
        if not data:
            return
        await socket.send_bytes(data)


async def _inward(socket: aiohttp.ClientWebSocketResponse, master: int) -> None:
    """What the person types, and how large their window is."""
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            await _type(master, message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            _resize(master, message.data)


async def _type(master: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(master, data) :]
        except BlockingIOError:  # a program that does not read: wait for it
            await asyncio.sleep(0.02)
        except OSError:
            return


def _resize(master: int, text: str) -> None:
    try:
        rows, columns = json.loads(text)["resize"]
        size = struct.pack("HHHH", int(rows), int(columns), 0, 0)
    except (ValueError, KeyError, TypeError, struct.error):
        return  # not a note we know
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)
