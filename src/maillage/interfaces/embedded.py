"""The agents that live in this process: one per site over local processes, each a client of our own API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import structlog

from maillage.errors import Conflict
from maillage.network.model import Network

log = structlog.get_logger("maillage.agents")
LOCAL = "local"


class Embedded:
    def __init__(self, network: Network, data_dir: Path, url: str, token_of: Callable[[str], str]) -> None:
        self._network = network
        self._data_dir = data_dir
        self._url = url
        self._token_of = token_of

    async def __aenter__(self) -> Embedded:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def cut(self, site: str, for_s: float) -> None:
        raise Conflict("no")

    def waiting_for(self) -> list[str]:
        return []
