"""What the gateway adds to a request: p50 and p99 at one connection, straight and through it, taken in turns.

    python benchmarks/gateway_latency.py [--requests 1000] [--tokens 8]

The engine is a stand-in that answers at once with a stream like llama.cpp's, so that only the way counts.
Engine, gateway (one worker) and client are processes of their own on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

import aiohttp
import numpy as np
import psutil
import uvicorn
from aiohttp import web
from fastapi import FastAPI
from noise import Figures, alone

from maillage.control.service import Replica
from maillage.serving.gateway import Gateway, routes
from maillage.serving.metering import Caller

BODY = {"model": "chat", "messages": [{"role": "user", "content": "Tell me about Paris."}]}
HEADERS = {"Authorization": "Bearer bench"}


def stream(tokens: int) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "chat"}
    lines = []
    for number in range(1, tokens + 1):
        choices = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]
        timings = {"cache_n": 0, "prompt_n": 12, "predicted_n": number}
        lines.append(json.dumps(head | {"choices": choices, "timings": timings}))
    usage = {"prompt_tokens": 12, "completion_tokens": tokens, "total_tokens": 12 + tokens}
    lines += [json.dumps(head | {"choices": [], "usage": usage}), "[DONE]"]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def run_engine(tokens: int, tell: Connection) -> None:
    answer = stream(tokens)

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=answer, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    web.run_app(app, sock=_listen(tell), print=None, access_log=None)


class OneReplica:
    def __init__(self, port: int) -> None:
        self._replicas = (Replica("j1.1", "paris", f"http://127.0.0.1:{port}", ready=True),)

    def replicas(self, model_name: str, projects: set[str] | None) -> tuple[Replica, ...]:
        return self._replicas

    def models(self, projects: set[str] | None) -> tuple[str, ...]:
        return ("chat",)


def run_gateway(engine_port: int, tell: Connection) -> None:
    async def authorise(token: str, project: str) -> Caller:
        return Caller("bench", "org", "lab", None)

    gateway = Gateway(OneReplica(engine_port), authorise)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with gateway:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(routes(gateway))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.run([_listen(tell)])


def _listen(tell: Connection) -> socket.socket:
    listening = socket.create_server(("127.0.0.1", 0))
    tell.send(listening.getsockname()[1])
    return listening


def start(run: Callable[..., None], argument: int) -> tuple[multiprocessing.Process, int]:
    hear, tell = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=run, args=(argument, tell), daemon=True)
    process.start()
    return process, hear.recv()


async def ask(session: aiohttp.ClientSession, port: int, streamed: bool) -> float:
    begun_s = time.perf_counter()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with session.post(url, json=BODY | {"stream": streamed}, headers=HEADERS) as answer:
        await answer.read()
        assert answer.status == 200, await answer.text()
    return (time.perf_counter() - begun_s) * 1000


async def taken(
    ports: tuple[int, int], gateway: psutil.Process, requests: int, streamed: bool
) -> dict[str, float]:
    taken_ms: tuple[list[float], list[float]] = ([], [])
    async with aiohttp.ClientSession() as session:
        for port in ports * 50:  # warm
            await ask(session, port, streamed)
        before_s = sum(gateway.cpu_times()[:2])
        for _ in range(requests):
            for port, times in zip(ports, taken_ms, strict=True):
                times.append(await ask(session, port, streamed))
        cpu_s = sum(gateway.cpu_times()[:2]) - before_s
    straight, through = (np.percentile(times, [50, 99]) for times in taken_ms)
    return {
        "straight_p50_ms": round(float(straight[0]), 3),
        "through_p50_ms": round(float(through[0]), 3),
        "added_p50_ms": round(float(through[0] - straight[0]), 3),
        "added_p99_ms": round(float(through[1] - straight[1]), 3),
        "gateway_cpu_us_per_request": round(cpu_s / requests * 1e6),
    }


def measure(requests: int = 1000, tokens: int = 8) -> Figures:
    """Streamed and not, straight and through the gateway."""
    figures: Figures = {"tokens": tokens, "requests": requests}
    engine, engine_port = start(run_engine, tokens)
    gateway, gateway_port = start(run_gateway, engine_port)
    try:
        watched = psutil.Process(gateway.pid)
        for streamed in (False, True):
            told = asyncio.run(taken((engine_port, gateway_port), watched, requests, streamed))
            figures["streamed" if streamed else "whole"] = told
    finally:
        for process in (gateway, engine):
            process.kill()
            process.join()
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=8)
    given = parser.parse_args()
    alone(lambda: measure(given.requests, given.tokens))
