"""The Python client: `maillage.Client().run(Job(...)).wait()`."""

from maillage.interfaces.sdk.clients import AsyncClient, Client
from maillage.interfaces.sdk.handles import AsyncJobHandle, JobHandle, logs_call
from maillage.interfaces.sdk.results import EndpointInfo, JobInfo, Page, Receipt, RunInfo, SiteInfo, Why

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
    "logs_call",
]
