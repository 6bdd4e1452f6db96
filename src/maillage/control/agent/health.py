"""Is a replica well? Its service file says where it listens; `GET /health` says how it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp

from maillage.control.agent.held import Held, Phase

_STARTING_EVERY_S = 0.25
_READY_EVERY_S = 2.0
_FAILURES = 3  # in a row, before a ready replica counts as unwell
_ANSWER_S = 2.0


async def watch_service(held: Held, tell: Callable[[], None]) -> None:
    """Keep `address` and `ready` of a run's report true while the engine has it."""
    failures = 0
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while held.phase is Phase.ENGINE:
            address = await asyncio.to_thread(_address, held.folder / "service.json")
            well = bool(address) and await _is_well(session, address)
            failures = 0 if well else failures + 1
            ready = well or (held.report.ready and failures < _FAILURES and address == held.report.address)
            if (held.report.address, held.report.ready) != (address, ready) and held.phase is Phase.ENGINE:
                held.report = replace(held.report, address=address, ready=ready)
                tell()
            await asyncio.sleep(_READY_EVERY_S if ready and well else _STARTING_EVERY_S)


def _address(path: Path) -> str:
    """Where the replica says it listens; "" while it does not say, or says nonsense."""
    try:
        port = json.loads(path.read_bytes())["port"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"http://127.0.0.1:{port}" if isinstance(port, int) and 0 < port < 65536 else ""


async def _is_well(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(f"{address}/health", allow_redirects=False) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return False
