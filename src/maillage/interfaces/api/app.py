"""The application: every route in one place, the shape of troubles, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

import maillage
from maillage.errors import UserError
from maillage.interfaces.api import (
    artifacts,
    endpoints,
    inference,
    jobs,
    logs,
    network,
    people,
    shell,
    sites,
    tokens,
    watch,
)
from maillage.interfaces.api.answers import (
    on_bad_request,
    on_http_error,
    on_store_trouble,
    on_user_error,
)
from maillage.interfaces.api.limits import Outermost
from maillage.interfaces.api.parts import Parts
from maillage.interfaces.console import pages
from maillage.serving.gateway import Gateway

_TAGS = [
    {"name": "jobs", "description": "Submit work, follow it, end it."},
    {"name": "endpoints", "description": "Models kept answering by replicas."},
    {"name": "inference", "description": "OpenAI-compatible: point any client at it, with the same tokens."},
    {"name": "sites", "description": "Campuses: their load, power and limits."},
    {
        "name": "artifacts",
        "description": "Work folders, checkpoints and outputs, under the name of their digest.",
    },
    {"name": "people", "description": "Organisations, projects, members, secrets, tokens."},
    {"name": "network", "description": "The network as a whole."},
    {"name": "agents", "description": "What a site's agent calls, with the site's own token."},
]
_OPEN = ("/healthz", "/metrics")
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(parts: Parts, lifespan: Lifespan | None = None) -> FastAPI:
    """The application over these parts. `lifespan` is entered around the gateway's own."""
    gateway = inference.gateway_over(parts)
    parts.metrics.registry.register(gateway.counters)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with gateway:
            if lifespan is None:
                yield
            else:
                async with lifespan(app):
                    yield

    app = bare_app(gateway, life)
    app.state.parts = parts
    app.state.gateway = gateway
    app.add_middleware(Outermost, metrics=parts.metrics)
    return app


class _Application(FastAPI):
    """With the token declared in its document, and the routes that need none."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "mlg_..."}
            document["components"]["securitySchemes"] = {"token": scheme}
            document["security"] = [{"token": []}]
            for path in _OPEN:
                document["paths"][path]["get"]["security"] = []
        assert self.openapi_schema is not None
        return self.openapi_schema


def bare_app(gateway: Gateway, lifespan: Lifespan | None = None) -> FastAPI:
    """Routes alone, enough for the OpenAPI document."""
    app = _Application(
        title="maillage",
        version=maillage.__version__,
        summary="Several AI campuses as one network.",
        description="Errors: `{error: {code, message, problems}}`. Send the token as `Authorization: Bearer`",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        swagger_ui_oauth2_redirect_url=None,
    )
    parts = (jobs, sites, logs, artifacts, endpoints, people, tokens, network, shell, watch, pages)
    for router in (*(part.router for part in parts), inference.routes_of(gateway)):
        app.router.routes.extend(router.routes)  # as they are, so that `app.routes` shows every one
    app.add_exception_handler(UserError, on_user_error)
    app.add_exception_handler(OperationalError, on_store_trouble)
    app.add_exception_handler(RequestValidationError, on_bad_request)
    app.add_exception_handler(HTTPException, on_http_error)
    return app
