"""`maillage up`: the whole network in one process, assembled, run, and taken down in order.

Everything is constructed here and handed down; nothing below knows of anything above. The order up is
folder, network, core, store, loop, people, socket, routes, agents; the order down is the reverse,
and leaves jobs running: their supervisors outlive this process and are found again by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from maillage.access.open import Access, open_access, prepare, site_token
from maillage.control.artifacts import ArtifactStore, S3Store, open_store
from maillage.control.clock import WallClock
from maillage.control.service import Service
from maillage.control.store import Store
from maillage.errors import Conflict, Invalid, NotAllowed, UserError
from maillage.feeds import recorded
from maillage.feeds.recorded import Signals
from maillage.interfaces import folder
from maillage.interfaces.api.app import create_app
from maillage.interfaces.api.parts import Parts
from maillage.interfaces.embedded import Embedded
from maillage.interfaces.journal import open_journal, say
from maillage.interfaces.live import Live
from maillage.interfaces.metrics import Metrics
from maillage.network.model import Network
from maillage.scheduling.policy import DEFAULT, Policy
from maillage.scheduling.scheduler import Scheduler
from maillage.scheduling.warm import exercise

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8470
_BACKLOG = 2048
GRACE_S = 3.0  # for requests under way when the server stops
_COMPILING_S = 2.0  # a warm core answers sooner: then nothing is said
_STILL_COMPILING_S = 10.0
log = structlog.get_logger("maillage.up")


def run(
    network: Path,
    data_dir: Path,
    port: int | None = None,
    *,
    host: str = LOOPBACK,
    beyond_loopback: bool = False,
    artifacts: str = "",
    policy: Policy = DEFAULT,
) -> None:
    """Run until SIGTERM or SIGINT. Returns after an orderly stop.

    `port` None: the usual one, or any when it is taken. `beyond_loopback` must be said for a host that
    other machines reach. `artifacts`: as `open_store` takes it, empty for the data folder's own.
    Raises UserError for everything the user can mend, before anything was started.
    """
    if not beyond_loopback and not host.startswith("127.") and host not in ("localhost", "::1"):
        raise NotAllowed(
            f"{host} can be reached from other machines, and there is no encryption here: put a TLS proxy in "
            "front of 127.0.0.1, or say --beyond-loopback if that is wanted"
        )
    folder.open_folder(data_dir)
    open_journal(data_dir)
    described = folder.read_network(network)
    with socket_on(host, port, data_dir) as listening:
        if beyond_loopback:
            say(f"warning: listening on {host}, reachable from other machines without encryption")
        store = open_store(artifacts or str(data_dir / "artifacts"))
        if isinstance(store, S3Store):
            store.check()
        warm(described, policy)
        uvloop.run(_up(described, data_dir, listening, store, policy, beyond_loopback))


@dataclass(slots=True)
class _Ending:
    """Why the process ends: a signal, or a fault of ours."""

    asked: asyncio.Event
    fault: BaseException | None = None


async def _up(
    network: Network,
    data_dir: Path,
    listening: socket.socket,
    artifacts: ArtifactStore,
    policy: Policy,
    beyond_loopback: bool,
) -> None:
    ending = _Ending(asyncio.Event())
    aio = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        aio.add_signal_handler(number, ending.asked.set)

    def failed(error: BaseException) -> None:
        ending.fault = error
        aio.call_soon_threadsafe(ending.asked.set)

    with _leading(network, data_dir, artifacts, policy, failed) as (service, access):
        url = "http://{}:{}".format(*listening.getsockname()[:2])
        embedded = Embedded(network, data_dir, url, lambda site: site_token(access, data_dir, site))
        live, metrics = Live(service), Metrics()
        service.on_decided(metrics.decided)
        parts = Parts(
            service,
            access,
            live,
            metrics,
            cut=embedded.cut,
            unready=embedded.waiting_for,
            open_metrics=not beyond_loopback,
        )
        app = create_app(parts)
        service.demand_of = app.state.gateway.demand
        _listen(listening, data_dir)
        async with _serving(app, listening, live):
            folder.write_server(data_dir, url)
            gc.collect()
            gc.freeze()  # all this lives as long as we do; to look through it again takes 100 ms
            async with embedded:
                log.info("up", url=url, network=network.name, sites=[site.id for site in network.sites])
                say(f"{network.name} is up: {url}  (data in {data_dir})")
                await ending.asked.wait()
                say("stopping; jobs run on")
    if ending.fault is not None:
        raise RuntimeError(
            "the loop ended by a fault of ours; the log is whole, start again"
        ) from ending.fault


@contextmanager
def _leading(
    network: Network,
    data_dir: Path,
    artifacts: ArtifactStore,
    policy: Policy,
    failed: Callable[[BaseException], None],
) -> Iterator[tuple[Service, Access]]:
    """The store, the loop that leads the data folder, and the people; let go of in the end."""
    store = Store.open(data_dir / "maillage.db")
    try:
        signals, clock = signals_of(network), WallClock()
        service = Service(network, store, data_dir, signals, policy, clock, artifacts=artifacts)
        access = open_access(store.engine, data_dir)
        service.secrets_of = access.vault.open
        service.start(failed)
        try:
            folder.forget_server(data_dir)  # whoever left it does not lead any more
            prepare(access, data_dir, [site.id for site in network.sites])
            yield service, access
        finally:
            folder.forget_server(data_dir)
            service.stop()
    finally:
        store.close()


@contextlib.asynccontextmanager
async def _serving(app: FastAPI, listening: socket.socket, live: Live) -> AsyncIterator[None]:
    """The server, answering from the moment this is entered to the moment it is left."""
    config = uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws="websockets-sansio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(GRACE_S),
        timeout_keep_alive=75,
        ws_max_size=1 << 22,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            if serving.done():
                await serving  # raises what it met
                raise Conflict("the server ended before it had begun")
            await asyncio.sleep(0.01)
        yield
    finally:
        live.close()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Leaves signals to us, who have more to end than the server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def socket_on(host: str, port: int | None, data_dir: Path) -> Iterator[socket.socket]:
    """A bound socket. Raises Conflict naming who has the port, where that can be told."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in (port,) if port is not None else (DEFAULT_PORT, 0):
            try:
                bound.bind((host, number))
            except socket.gaierror as error:
                raise Invalid(f"{host!r} is no address of this machine: {error.strerror}") from None
            except OSError as error:
                if number == DEFAULT_PORT and port is None:
                    continue
                raise Conflict(folder.who_has(host, number, data_dir, error)) from None
            break
        yield bound


def _listen(bound: socket.socket, data_dir: Path) -> None:
    """Until now another process could bind the port too, and only one of them can listen."""
    try:
        bound.listen(_BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise Conflict(folder.who_has(host, port, data_dir, error)) from None


def warm(network: Network, policy: Policy) -> None:
    """Have the core compiled before anybody waits for it, by a short life in a core that is thrown away."""
    began_s, done = time.monotonic(), threading.Event()

    def tell() -> None:
        if not done.wait(_COMPILING_S):
            say("compiling the decision core, once for this version: up to a minute")
        while not done.wait(_STILL_COMPILING_S):
            say(f"still compiling, {time.monotonic() - began_s:.0f} s")

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    try:
        exercise(Scheduler(network, policy))
    finally:
        done.set()
        telling.join()


def signals_of(network: Network) -> dict[str, Signals]:
    """Recorded grid and weather of every site that has any; the others are named and go without."""
    found: dict[str, Signals] = {}
    for site in network.sites:
        try:
            found[site.id] = recorded.signals(site.grid.zone, site.place.lat, site.place.lon)
        except UserError as error:
            log.warning("site without recorded signals", site=site.id, why=str(error))
    return found
