"""maillage: several AI campuses as one network."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"  # as in pyproject.toml; a test compares them
__all__ = ["AsyncClient", "Client", "Endpoint", "Job"]  # made by __getattr__, typed in __init__.pyi

_HOMES = {
    "AsyncClient": ("maillage.interfaces.sdk", "AsyncClient"),
    "Client": ("maillage.interfaces.sdk", "Client"),
    "Endpoint": ("maillage.workloads.endpoint", "EndpointSpec"),
    "Job": ("maillage.workloads.job", "JobSpec"),
}


def __getattr__(name: str) -> Any:
    """The client's names, loaded when first asked for: `import maillage` stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
