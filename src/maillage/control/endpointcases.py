"""The use cases of endpoints, and what the gateway asks for each request. See `Service`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from maillage.control import log, orders
from maillage.control.asking import Asking
from maillage.control.endpoints import DemandOf, Replica
from maillage.control.loop import Pending
from maillage.control.plane import Plane
from maillage.control.round import Round
from maillage.control.store import CannotWrite
from maillage.errors import NotFound
from maillage.scheduling import feasibility
from maillage.workloads.endpoint import EndpointSpec

Json = dict[str, Any]
_PROBE = "j0000000000000"
_MOST_UNMETERED = 100_000  # records kept in memory while the log cannot be written


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request to an endpoint used, as the gateway metered it."""

    request_id: str
    endpoint: str
    org: str
    project: str
    user: str
    prompt_tokens: int
    completion_tokens: int
    site: str = ""
    run_id: str = ""
    duration_ms: int = 0


class EndpointCases(Asking):
    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self._unmetered: list[Usage] = []

    @property
    def demand_of(self) -> DemandOf:
        """What is asked of an endpoint now; the gateway's, set by the roof."""
        return self._plane.endpoints.demand_of

    @demand_of.setter
    def demand_of(self, demand_of: DemandOf) -> None:
        self._plane.endpoints.demand_of = demand_of

    async def deploy(self, spec: EndpointSpec, *, org: str, project: str, user: str) -> Json:
        """Deploy an endpoint or give the one of that name its new spec; returns the Endpoint:
        {name, project, org, user, state, message, model, replicas: [{run_id, job_id, site, state,
        ready, address}], wanted, ready, min, max, created_at, spec}. Names are unique in the network."""
        feasibility.check(self._plane.network, orders.submitted(spec, _PROBE, 0, org))
        endpoints = self._plane.endpoints
        await self.do(partial(endpoints.deploy, spec=spec, org=org, project=project, user=user))
        return self._shown(spec.name, None)

    async def endpoints(self, projects: set[str] | None) -> list[Json]:
        views = sorted(self._plane.endpoint_views.items())
        return [view for _, (view, _) in views if projects is None or view["project"] in projects]

    async def endpoint(self, name: str, projects: set[str] | None) -> Json:
        return self._shown(name, projects)

    async def scale(self, name: str, *, minimum: int, maximum: int, user: str) -> Json:
        endpoints = self._plane.endpoints
        await self.do(partial(endpoints.scale, name=name, minimum=minimum, maximum=maximum, user=user))
        return self._shown(name, None)

    async def delete_endpoint(self, name: str, *, user: str) -> Json:
        """The Endpoint as it was; its replicas are being stopped."""
        before = self._shown(name, None)
        await self.do(partial(self._plane.endpoints.delete, name=name, user=user))
        return before | {"state": "deleted"}

    def _shown(self, name: str, projects: set[str] | None) -> Json:
        view, _ = self._plane.endpoint_views.get(name, ({}, ()))
        if not view or (projects is not None and view["project"] not in projects):
            raise NotFound(f"no endpoint {name!r}; `maillage endpoint list` shows those there are")
        return view

    # --- the gateway -----------------------------------------------------------------------------

    def replicas(self, model_name: str, projects: set[str] | None) -> tuple[Replica, ...]:
        """Where a model answers; empty where there is no such endpoint or none is placed. In memory."""
        view, replicas = self._plane.endpoint_views.get(model_name, ({}, ()))
        return replicas if view and (projects is None or view["project"] in projects) else ()

    def models(self, projects: set[str] | None) -> tuple[str, ...]:
        """Names of the endpoints that these projects may use. In memory."""
        views = self._plane.endpoint_views.copy()
        return tuple(
            sorted(
                name for name, (view, _) in views.items() if projects is None or view["project"] in projects
            )
        )

    def record_usage(self, usage: Usage) -> None:
        """Put a metered request into the log, with the next round; never blocks.

        While the log cannot be written it is kept in memory, and comes with the next one that can be.
        """
        waiting, self._unmetered = self._unmetered[-_MOST_UNMETERED:], []
        for record in (*waiting, usage):
            self._plane.put(Pending(partial(_note_usage, usage=record), partial(self._kept, record)))

    def _kept(self, usage: Usage, result: Any) -> None:
        if isinstance(result, CannotWrite):
            self._unmetered.append(usage)


def _note_usage(round_: Round, usage: Usage) -> None:
    round_.note(log.USAGE, asdict(usage))
