"""Endpoints: deploy, look, scale, delete."""

from __future__ import annotations

from typing import Annotated

from maillage.access.roles import Action
from maillage.errors import Invalid
from maillage.interfaces.api import shapes
from maillage.interfaces.api.answers import JsonAnswer
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.routers import api_router
from maillage.interfaces.api.specs import allow, endpoint_spec

router = api_router("endpoints")

Reader = Annotated[Caller, needs(Action.ENDPOINT_READ)]
Deployer = Annotated[Caller, needs(Action.ENDPOINT_DEPLOY)]


@router.post("/endpoints", status_code=201, response_model=shapes.Endpoint, operation_id="deployEndpoint")
async def deploy(body: shapes.EndpointAsked, caller: Deployer) -> JsonAnswer:
    """Deploy an endpoint, or give the one of that name its new spec."""
    spec = endpoint_spec(body.spec, body.spec_source)
    org = await allow(spec, caller, Action.ENDPOINT_DEPLOY)
    user = caller.principal.name
    endpoint = await caller.parts.service.deploy(spec, org=org, project=spec.project, user=user)
    return JsonAnswer(endpoint, status_code=201)


@router.get("/endpoints", response_model=shapes.Items, operation_id="listEndpoints")
async def listed(caller: Reader) -> JsonAnswer:
    """Endpoints of the projects one may see."""
    return JsonAnswer({"items": await caller.parts.service.endpoints(caller.projects)})


@router.get("/endpoints/{name}", response_model=shapes.Endpoint, operation_id="getEndpoint")
async def shown(name: str, caller: Reader) -> JsonAnswer:
    """One endpoint with its replicas."""
    return JsonAnswer(await caller.endpoint(name, Action.ENDPOINT_READ))


@router.post("/endpoints/{name}/scale", response_model=shapes.Endpoint, operation_id="scaleEndpoint")
async def scale(name: str, body: shapes.ScaleAsked, caller: Deployer) -> JsonAnswer:
    """Change between how many replicas the endpoint may have."""
    if body.min > body.max:
        raise Invalid(f"min {body.min} is above max {body.max}")
    found = await caller.endpoint(name, Action.ENDPOINT_DEPLOY)
    user = caller.principal.name
    return JsonAnswer(
        await caller.parts.service.scale(found["name"], minimum=body.min, maximum=body.max, user=user)
    )


@router.delete("/endpoints/{name}", response_model=shapes.Endpoint, operation_id="deleteEndpoint")
async def delete(name: str, caller: Deployer) -> JsonAnswer:
    """Stop all replicas and forget the endpoint."""
    found = await caller.endpoint(name, Action.ENDPOINT_DEPLOY)
    return JsonAnswer(await caller.parts.service.delete_endpoint(found["name"], user=caller.principal.name))
