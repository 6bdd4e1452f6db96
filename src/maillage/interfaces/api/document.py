"""The OpenAPI document, made without a network behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from maillage.errors import Unreachable
from maillage.interfaces.api.app import bare_app
from maillage.serving.gateway import Gateway
from maillage.serving.metering import Caller


class _Nothing:
    """A directory in which nothing is deployed."""

    def replicas(self, model_name: str, projects: set[str] | None) -> tuple[()]:
        return ()

    def models(self, projects: set[str] | None) -> tuple[str, ...]:
        return ()


async def _nobody(token: str, project: str) -> Caller:
    raise Unreachable("there is no network behind this document")


def openapi() -> dict[str, Any]:
    """The document, with the token declared and every route's answers tidy."""
    document: dict[str, Any] = bare_app(Gateway(_Nothing(), _nobody)).openapi()
    parts = document.setdefault("components", {})
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "mlg_..."}}
    document["security"] = [{"token": []}]
    for path, _, operation in operations(document):
        if path in ("/healthz", "/metrics"):
            operation["security"] = []
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of every operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def openapi_text() -> str:
    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"
