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
    """What a running network serves at `/openapi.json`."""
    document: dict[str, Any] = bare_app(Gateway(_Nothing(), _nobody)).openapi()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of every operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def openapi_text() -> str:
    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"
