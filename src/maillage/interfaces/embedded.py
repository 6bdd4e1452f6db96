"""The agents that live in this process: one per site over local processes, each a client of our own API.

An agent keeps nothing that matters, so one that ends by a fault is told of and begun again; its jobs
belong to their supervisors and do not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import structlog

from maillage.control.agent import Agent
from maillage.control.agent.agent import Replaced
from maillage.engines.local.engine import LocalEngine
from maillage.engines.port import PoolCapacity
from maillage.errors import Conflict
from maillage.network.model import Network, Site

LOCAL = "local"
_BEGIN_AGAIN_S = 1.0
log = structlog.get_logger("maillage.agents")


class Embedded:
    """Agents of the sites whose pools all are local. Other sites wait for agents from elsewhere.

    `token_of(site)` gives the site's own token.
    """

    def __init__(self, network: Network, data_dir: Path, url: str, token_of: Callable[[str], str]) -> None:
        self._sites = {site.id: site for site in network.sites if is_local(site)}
        self._data_dir = data_dir
        self._url = url
        self._token_of = token_of
        self._agents: dict[str, Agent] = {}
        self._connected: set[str] = set()
        self._serving: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Embedded:
        for site in self._sites.values():
            token = await asyncio.to_thread(self._token_of, site.id)
            self._serving.append(asyncio.create_task(self._serve(site, token)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self, site: str, for_s: float) -> None:
        """Silence the agent of a site. Raises Conflict where it is not one of ours."""
        agent = self._agents.get(site)
        if agent is None:
            raise Conflict(f"site {site!r} has no agent inside this process: cut its own line instead")
        agent.cut(for_s)

    def waiting_for(self) -> list[str]:
        """Sites whose agent has not had an answer yet."""
        self._connected |= {site for site, agent in self._agents.items() if agent.is_connected}
        return [f"the agent of {site}" for site in self._sites if site not in self._connected]

    async def _serve(self, site: Site, token: str) -> None:
        folder = self._data_dir / "sites" / site.id
        while True:
            engine = await asyncio.to_thread(LocalEngine, folder / "runs", pools_of(site), site=site.id)
            try:
                agent = self._agents[site.id] = Agent(
                    site.id, self._url, token, engine, folder, engine_kind=LOCAL
                )
                await agent.run()
            except Replaced as reason:
                log.warning("agent replaced", site=site.id, why=str(reason))
                return
            except Exception:
                log.exception("agent ended by a fault; begun again", site=site.id)
            finally:
                await asyncio.shield(asyncio.to_thread(engine.close))
            await asyncio.sleep(_BEGIN_AGAIN_S)


def is_local(site: Site) -> bool:
    return all(pool.engine == LOCAL for pool in site.pools)


def pools_of(site: Site) -> tuple[PoolCapacity, ...]:
    """What the local engine says that it has: the pools as the network describes them."""
    return tuple(
        PoolCapacity(
            pool.id,
            nodes_up=pool.nodes,
            cpus_per_node=pool.cpus_per_node,
            memory_mib_per_node=pool.memory_mib_per_node,
        )
        for pool in site.pools
    )
