"""A spec out of a request's body: parsed by `workloads`, then held against what the caller may use."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool

from maillage.access.roles import Action
from maillage.errors import Invalid, Problem, Problems
from maillage.interfaces.api.authorise import Caller
from maillage.units import is_job_id
from maillage.workloads.endpoint import EndpointSpec
from maillage.workloads.job import JobSpec
from maillage.workloads.specs import from_value


def job_spec(value: Any, source: str = "") -> JobSpec:
    """Raises Problems with everything that is wrong in it, Invalid for an endpoint."""
    spec = from_value(value, source or "spec")
    if not isinstance(spec, JobSpec):
        raise Invalid(f"{spec.name!r} is an endpoint: deploy it with POST /api/v1/endpoints")
    return spec


def endpoint_spec(value: Any, source: str = "") -> EndpointSpec:
    """An endpoint's spec, with or without its `kind`. Raises Problems, Invalid for a job."""
    if isinstance(value, dict):
        value = {"kind": "endpoint", **value}
    spec = from_value(value, source or "spec")
    if not isinstance(spec, EndpointSpec):
        raise Invalid(f"{spec.name!r} is a job: submit it with POST /api/v1/jobs")
    return spec


async def allow(spec: JobSpec | EndpointSpec, caller: Caller, action: Action) -> str:
    """The organisation that pays, once the caller may do `action` in the spec's project.

    Jobs that it takes outputs from must be in projects that the caller sees, and its secrets must
    be there. Raises NotFound, NotAllowed, Problems.
    """
    caller.see_project(spec.project)
    caller.require(action, project=spec.project)
    for ref in spec.needs:
        if is_job_id(ref):
            await caller.job(ref, Action.JOB_READ)
    if isinstance(spec, JobSpec) and spec.secrets:
        await run_in_threadpool(_has_secrets, spec, caller)
    access = caller.parts.access
    return access.known_org(spec.project) or await run_in_threadpool(access.org_of, spec.project)


def _has_secrets(spec: JobSpec, caller: Caller) -> None:
    known = {secret.name for secret in caller.parts.access.vault.listed(spec.project)}
    missing = [name for name in spec.secrets if name not in known]
    if missing:
        mend = f"set it with `maillage secret set NAME --project {spec.project}`"
        raise Problems([Problem("secrets", f"no secret {name!r} in the project", mend) for name in missing])
