"""The Python client: `maillage.Client().run(Job(...)).wait()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maillage.interfaces.sdk.client import Client
from maillage.interfaces.sdk.handles import AsyncJobHandle, JobHandle
from maillage.interfaces.sdk.results import EndpointInfo, JobInfo, Page, Receipt, RunInfo, SiteInfo, Why

if TYPE_CHECKING:
    from maillage.interfaces.sdk.async_client import AsyncClient

__all__ = [
    "AsyncClient",
    "AsyncJobHandle",
    "Client",
    "EndpointInfo",
    "JobHandle",
    "JobInfo",
    "Page",
    "Receipt",
    "RunInfo",
    "SiteInfo",
    "Why",
]


def __getattr__(name: str) -> Any:
    """`AsyncClient`, with the event loop and httpx it brings, only when it is asked for."""
    if name != "AsyncClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from maillage.interfaces.sdk.async_client import AsyncClient

    return AsyncClient
