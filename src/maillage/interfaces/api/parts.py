"""What the routes work on, built by the roof and handed to the application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from maillage.access.open import Access
from maillage.control.service import Service
from maillage.errors import Conflict
from maillage.interfaces.live import Live
from maillage.interfaces.metrics import Metrics


def _no_embedded_agents(site: str, for_s: float) -> None:
    raise Conflict(
        f"site {site!r} has no agent inside this process: cut its own line instead ({for_s:.0f} s)"
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """`cut(site, for_s)` silences an embedded agent; raises Conflict where there is none.

    `unready()` names everything that is not ready yet; an empty answer means ready.
    `open_metrics`: `/metrics` needs no token (the server listens on loopback only).
    """

    service: Service
    access: Access
    live: Live
    metrics: Metrics
    cut: Callable[[str, float], None] = _no_embedded_agents
    unready: Callable[[], list[str]] = list
    open_metrics: bool = True


def parts_of(connection: HTTPConnection) -> Parts:
    parts: Parts = connection.app.state.parts
    return parts
