"""A control plane of a few lines for an agent to talk to: it speaks the sync protocol, and fails at will."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web
from pydantic import TypeAdapter

from maillage.control.protocol import LogPush, ShellOrder, StopOrder, SyncRequest, SyncResponse
from maillage.engines.port import RunOrder, RunReport

TOKEN = "site-token"
_REQUEST: TypeAdapter[SyncRequest] = TypeAdapter(SyncRequest)
_RESPONSE: TypeAdapter[SyncResponse] = TypeAdapter(SyncResponse)
_PUSH: TypeAdapter[LogPush] = TypeAdapter(LogPush)


class Network:
    """`order` wants a run, `reports` is what was told last, `ended` what was told to be over."""

    def __init__(self) -> None:
        self.version = 0
        self.orders: dict[str, RunOrder] = {}
        self.stops: dict[str, StopOrder] = {}
        self.shells: dict[str, ShellOrder] = {}
        self.reports: dict[str, RunReport] = {}
        self.history: list[RunReport] = []
        self.ended: dict[str, RunReport] = {}
        self.artifacts: dict[str, bytes] = {}
        self.logs: dict[tuple[str, int], bytes] = {}
        self.finished_logs: set[tuple[str, int]] = set()
        self.sent_orders: list[str] = []
        self.calls = 0
        self.failing = False
        self.refusing = 0
        self.incarnations: set[str] = set()
        self.terminal: asyncio.Queue[Any] = asyncio.Queue()
        self.typed: asyncio.Queue[bytes | str] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 30, middlewares=[self._gate])
        app.router.add_post("/api/v1/sites/{site}/sync", self._sync)
        app.router.add_post("/api/v1/sites/{site}/logs", self._logs)
        app.router.add_get("/api/v1/sites/{site}/shells/{shell}", self._shell)
        app.router.add_get("/api/v1/artifacts/{digest}", self._get)
        app.router.add_put("/api/v1/artifacts/{digest}", self._put)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    # ---- what a test says and asks ------------------------------------------------------------

    async def order(self, *orders: RunOrder) -> None:
        self.orders.update({order.run_id: order for order in orders})
        await self._bump()

    async def stop_run(self, stop: StopOrder) -> None:
        self.stops[stop.run_id] = stop
        await self._bump()

    async def drop(self, run_id: str) -> None:
        """The network gives a run up, as when its site was cut off for too long."""
        self.orders.pop(run_id)
        await self._bump()

    async def ask_shell(self, shell: ShellOrder) -> None:
        self.shells[shell.shell_id] = shell
        await self._bump()

    def keep(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.artifacts[digest] = data
        return digest

    async def until(self, holds: Callable[[], Any], within_s: float = 20.0) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not holds():
                    async with self._changed:
                        await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"it never came: reports {self.reports}, ended {self.ended}") from None

    async def end_of(self, run_id: str, within_s: float = 20.0) -> RunReport:
        await self.until(lambda: run_id in self.ended, within_s)
        return self.ended[run_id]

    async def _bump(self) -> None:
        self.version += 1
        await self._wake()

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # ---- what an agent asks -------------------------------------------------------------------

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls += 1
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _error(401, "who are you")
        if self.refusing:
            return _error(self.refusing, "no")
        if self.failing:
            return _error(503, "not well")
        response: web.StreamResponse = await handler(request)
        return response

    async def _sync(self, http: web.Request) -> web.Response:
        request = _REQUEST.validate_json(await http.read())
        self.incarnations.add(request.incarnation)
        for report in request.reports:
            self.history.append(report)
            if report.run_id in self.orders:
                self.reports[report.run_id] = report
                if report.state.ended:
                    self.ended[report.run_id] = report
                    del self.orders[report.run_id]
                    self.stops.pop(report.run_id, None)
                    self.version += 1
        await self._wake()
        answer = self._answer(request)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + request.wait_s
        while request.version_seen == answer.version and not (answer.orders or answer.released):
            try:
                async with asyncio.timeout_at(until_s), self._changed:
                    await self._changed.wait()
            except TimeoutError:
                break
            answer = self._answer(request)
        self.sent_orders += [order.run_id for order in answer.orders]
        return web.Response(body=_RESPONSE.dump_json(answer), content_type="application/json")

    def _answer(self, request: SyncRequest) -> SyncResponse:
        has = {*request.known, *(report.run_id for report in request.reports)}
        return SyncResponse(
            version=self.version,
            desired=tuple(run_id for run_id in self.orders if run_id not in self.stops),
            orders=tuple(order for run_id, order in self.orders.items() if run_id not in has),
            stop=tuple(self.stops.values()),
            released=tuple(
                report.run_id
                for report in request.reports
                if report.state.ended and report.run_id not in self.orders
            ),
            shells=tuple(self.shells.values()),
        )

    async def _logs(self, http: web.Request) -> web.Response:
        for chunk in _PUSH.validate_json(await http.read()).chunks:
            key = (chunk.run_id, chunk.worker)
            known, data = self.logs.get(key, b""), base64.b64decode(chunk.data_b64)
            assert chunk.offset <= len(known), "a gap"
            self.logs[key] = known + data[len(known) - chunk.offset :]
            if chunk.final:
                self.finished_logs.add(key)
        await self._wake()
        return web.Response(status=204)

    async def _get(self, http: web.Request) -> web.Response:
        data = self.artifacts.get(http.match_info["digest"])
        return web.Response(body=data) if data is not None else _error(404, "no such artifact")

    async def _put(self, http: web.Request) -> web.Response:
        data = await http.read()
        assert self.keep(data) == http.match_info["digest"]
        await self._wake()
        return web.Response(status=201)

    async def _shell(self, http: web.Request) -> web.WebSocketResponse:
        self.shells.pop(http.match_info["shell"], None)
        socket = web.WebSocketResponse()
        await socket.prepare(http)

        async def type_in() -> None:
            while True:
                said = await self.typed.get()
                await (socket.send_bytes(said) if isinstance(said, bytes) else socket.send_str(said))

        typing = asyncio.create_task(type_in())
        async for message in socket:
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                await self.terminal.put(message.data)
        typing.cancel()
        return socket


def _error(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=json.dumps({"error": {"message": message}}))
