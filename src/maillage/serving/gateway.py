"""The OpenAI-compatible gateway: `/v1/chat/completions`, `/v1/completions` and `/v1/models`.

The roof builds one `Gateway`, enters it in its lifespan and mounts `routes(gateway)`:

    gateway = Gateway(directory, authorise, meter)
    app.include_router(routes(gateway))
    async with gateway: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from maillage.errors import NotSignedIn, UserError
from maillage.scheduling.replicas import ReplicaDemand
from maillage.serving.counters import Counters
from maillage.serving.exchange import Exchange
from maillage.serving.metering import HUNG_UP, Caller, Meter, Tally, TokenCount, Usage
from maillage.serving.refusals import Refusal, from_user_error, unknown_model
from maillage.serving.requests import Endpoint, read_body, read_request
from maillage.serving.routing import Replica
from maillage.serving.upstream import Upstream

PROJECT_HEADER = "openai-project"  # what the official client sends for `project=`


class Directory(Protocol):
    """What is deployed, as the control plane knows it now; `control.service.Service` is one.

    Asked for each request, so it answers from memory. `projects`: those the caller may use, None for all.
    """

    def replicas(self, model_name: str, projects: set[str] | None) -> tuple[Replica, ...]:
        """All replicas of an endpoint, ready or not; empty for an unknown name too."""

    def models(self, projects: set[str] | None) -> tuple[str, ...]:
        """Names of the endpoints."""


class Authorise(Protocol):
    """Says who holds a token. `project` is what the client names to pay for it, "" for none.

    Raises NotSignedIn for an unknown token, NotAllowed where it may not use the project, and
    Unreachable where that cannot be told now (which is not the same as unknown).
    """

    async def __call__(self, token: str, project: str) -> Caller: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """`in_flight_per_replica`: beyond it a replica gets nothing more, and the client a 429."""

    body_bytes: int = 4 * 1024 * 1024
    in_flight_per_replica: int = 64


class Gateway:
    """Counts live in `counters`; `meter`, if given, takes every request's usage as well.

    `carbon_g_per_kwh` tells a site's grid carbon now, for replicas that are equal otherwise.
    """

    def __init__(
        self,
        directory: Directory,
        authorise: Authorise,
        meter: Meter | None = None,
        *,
        carbon_g_per_kwh: Callable[[str], float] = lambda site: 0.0,
        limits: Limits | None = None,
    ) -> None:
        self.counters = Counters()
        self._limits = limits or Limits()
        self._directory = directory
        self._authorise = authorise
        self._meter = meter
        self._upstream = Upstream(
            in_flight_limit=self._limits.in_flight_per_replica, carbon_g_per_kwh=carbon_g_per_kwh
        )

    async def __aenter__(self) -> Gateway:
        await self._upstream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._upstream.__aexit__(kind, error, trace)

    def demand(self, name: str) -> ReplicaDemand:
        """What is asked of an endpoint now: what its replica count is decided from. From any thread."""
        return self._upstream.demand.of(name)

    async def answer(self, endpoint: Endpoint, request: Request) -> Response:
        """A chat or text completion: relayed from a replica, or refused in OpenAI's words."""
        tally = Tally(endpoint)
        try:
            tally.caller = await self._caller(request)
            asked = read_request(endpoint, await read_body(request, self._limits.body_bytes))
            replicas = self._directory.replicas(asked.model, tally.caller.projects)
            if not replicas:
                self._known(asked.model, tally.caller)
        except ClientDisconnect:
            response = Response(status_code=HUNG_UP)  # nobody reads it
        except UserError as error:
            response = refused(from_user_error(error), tally.headers())
        else:
            tally.model, tally.streamed = asked.model, asked.streamed
            tally.count = TokenCount(asked.answers_per_prompt)
            return Exchange(self._upstream, asked, replicas, tally, self)
        tally.status = response.status_code
        self.record(tally.usage())
        return response

    def record(self, usage: Usage) -> None:
        self.counters.record(usage)
        if self._meter is not None:
            self._meter.record(usage)

    async def models(self, request: Request) -> Response:
        try:
            caller = await self._caller(request)
        except UserError as error:
            return refused(from_user_error(error))
        names = sorted(self._directory.models(caller.projects))
        return JSONResponse({"object": "list", "data": [_model(name) for name in names]})

    async def model(self, request: Request, name: str) -> Response:
        try:
            self._known(name, await self._caller(request))
        except UserError as error:
            return refused(from_user_error(error))
        return JSONResponse(_model(name))

    def _known(self, name: str, caller: Caller) -> None:
        known = self._directory.models(caller.projects)
        if name not in known:
            raise unknown_model(name, known)

    async def _caller(self, request: Request) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotSignedIn(
                "no token given; set api_key to a maillage token (header Authorization: Bearer TOKEN)"
            )
        return await self._authorise(token.strip(), request.headers.get(PROJECT_HEADER, ""))


def refused(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    return Response(refusal.body(), refusal.http_status, {**refusal.headers(), **(headers or {})})


def _model(name: str) -> dict[str, Any]:
    # `created` is required of an OpenAI server; when an endpoint was deployed stands in /api/v1/endpoints.
    return {"id": name, "object": "model", "created": 0, "owned_by": "maillage"}


def routes(gateway: Gateway) -> APIRouter:
    """The gateway's routes, to be mounted at the root: they carry their `/v1` prefix."""
    router = APIRouter(prefix="/v1", tags=["inference"])

    @router.post("/chat/completions", summary="Chat completion, streamed or whole", response_model=None)
    async def chat_completions(request: Request) -> Response:
        return await gateway.answer("chat/completions", request)

    @router.post("/completions", summary="Text completion, streamed or whole", response_model=None)
    async def completions(request: Request) -> Response:
        return await gateway.answer("completions", request)

    @router.get("/models", summary="Endpoints that the caller may use", response_model=None)
    async def models(request: Request) -> Response:
        return await gateway.models(request)

    @router.get("/models/{name:path}", summary="One endpoint", response_model=None)
    async def model(request: Request, name: str) -> Response:
        return await gateway.model(request, name)

    return router
