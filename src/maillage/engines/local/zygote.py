"""A fork server: a tiny process, everything imported, that forks a supervisor (or a sweeper) on request.

Forking it costs a millisecond, where a fresh interpreter costs thirty. It dies with the engine (its
socket closes); supervisors do not. Messages are JSON behind four bytes of length.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from maillage.engines.local.launch import Plan
from maillage.engines.local.records import RunFolder
from maillage.engines.local.supervisor import supervise
from maillage.engines.local.tree import name_process

_INHERITED = ("PATH", "LANG", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")


def _send(line: socket.socket, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    line.sendall(len(data).to_bytes(4, "big") + data)


def _receive(line: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the other end is gone."""
    size = _exactly(line, 4)
    data = _exactly(line, int.from_bytes(size, "big")) if size else b""
    body: dict[str, Any] | None = json.loads(data) if data else None
    return body


def _exactly(line: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        data = line.recv(min(1 << 20, size - len(parts)))
        if not data:
            return b""
        parts += data
    return bytes(parts)


class Zygote:
    """The engine's end of the line. Starts the fork server when first needed, and again if it died."""

    def __init__(self, errors: Path) -> None:
        self._errors = errors
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._lock = threading.Lock()

    def launch(self, plan: Plan) -> int:
        """Fork a supervisor for the plan; its pid. Raises OSError where the machine cannot fork."""
        return self._ask({"plan": plan.to_json()})

    def empty(self, folder: Path) -> None:
        """Delete what is in a folder, in a process of its own that gives way to others."""
        self._ask({"empty": str(folder)})

    def _ask(self, body: dict[str, Any]) -> int:
        with self._lock:
            for attempt in (1, 2):
                try:
                    return self._ask_once(body)
                except ConnectionError:
                    self._close()
                    if attempt == 2:
                        raise
        raise AssertionError

    def warm_up(self) -> None:
        with self._lock:
            if self._line is None:
                self._open()

    def close(self) -> None:
        with self._lock:
            self._close()

    def _ask_once(self, body: dict[str, Any]) -> int:
        if self._line is None:
            self._open()
        assert self._line is not None
        _send(self._line, body)
        answer = _receive(self._line)
        if answer is None:
            raise ConnectionResetError("the fork server is gone")
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        return int(answer["pid"])

    def _open(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "maillage.engines.local.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        self._line = ours

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.wait()
        self._line = self._process = None


def serve(line: socket.socket) -> None:
    """Fork a supervisor per message until the engine is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are nobody's zombies
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    name_process("maillage-fork")
    gc.collect()
    gc.freeze()
    while (body := _receive(line)) is not None:
        try:
            pid = os.fork()
        except OSError as error:
            _send(line, {"errno": error.errno})
            continue
        if pid == 0:
            line.close()
            _be(body)
        with contextlib.suppress(BrokenPipeError):
            _send(line, {"pid": pid})


def _be(body: dict[str, Any]) -> None:
    """In the child, never returns. An error here is ours: it is printed, and the engine sees us die."""
    try:
        os.setsid()
        if "plan" in body:
            plan = Plan.from_json(body["plan"])
            name_process("maillage-run")
            supervise(plan, RunFolder(Path(plan.folder)))
        else:
            os.nice(10)
            for entry in list(Path(body["empty"]).iterdir()):
                shutil.rmtree(entry, ignore_errors=True)  # another sweep may be at it already
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(70)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
