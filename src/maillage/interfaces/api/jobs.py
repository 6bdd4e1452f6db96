"""Jobs: submit, list, follow, end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query

from maillage.access.roles import Action
from maillage.control.service import Submission
from maillage.errors import UserError
from maillage.interfaces.api import shapes
from maillage.interfaces.api.answers import JsonAnswer, error_body
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.routers import api_router
from maillage.interfaces.api.specs import allow, job_spec

router = api_router("jobs")

Submitter = Annotated[Caller, needs(Action.JOB_SUBMIT)]
Quoter = Annotated[Caller, needs(Action.JOB_QUOTE)]
Reader = Annotated[Caller, needs(Action.JOB_READ)]
Controller = Annotated[Caller, needs(Action.JOB_CONTROL)]
State = Literal["live", "pending", "scheduled", "running", "succeeded", "failed", "cancelled"]


@router.post("/jobs", status_code=201, response_model=shapes.Job, operation_id="submitJob")
async def submit(body: shapes.JobAsked, caller: Submitter) -> JsonAnswer:
    """Submit a job. The answer comes when it is durable; the same key is the same job."""
    spec = job_spec(body.spec, body.spec_source)
    org = await allow(spec, caller, Action.JOB_SUBMIT)
    (answer,) = await _submit(caller, org, spec.project, [Submission(spec, body.idempotency_key)])
    if isinstance(answer, UserError):
        raise answer
    return JsonAnswer(answer, status_code=201)


@router.post("/jobs:batch", response_model=shapes.BatchAnswer, operation_id="submitJobs")
async def submit_batch(body: shapes.BatchAsked, caller: Submitter) -> JsonAnswer:
    """Submit up to 1,000 jobs; one answer each, in order. `after` and `inputs` may name jobs before them."""
    answers: list[dict[str, Any]] = [{} for _ in body.jobs]
    numbered: dict[tuple[str, str], list[tuple[int, Submission]]] = {}
    for index, asked in enumerate(body.jobs):
        try:
            spec = job_spec(asked.spec, asked.spec_source)
            org = await allow(spec, caller, Action.JOB_SUBMIT)
        except UserError as error:
            answers[index] = error_body(error)
        else:
            submission = Submission(spec, asked.idempotency_key)
            numbered.setdefault((org, spec.project), []).append((index, submission))
    for (org, project), items in numbered.items():
        told = await _submit(caller, org, project, [submission for _, submission in items])
        for (index, _), answer in zip(items, told, strict=True):
            answers[index] = error_body(answer) if isinstance(answer, UserError) else answer
    return JsonAnswer({"items": answers})


@router.post("/jobs:quote", response_model=shapes.Quote, operation_id="quoteJob")
async def quote(body: shapes.JobAsked, caller: Quoter) -> JsonAnswer:
    """Where and when the job would start, and for how much. Nothing is kept."""
    spec = job_spec(body.spec, body.spec_source)
    org = await allow(spec, caller, Action.JOB_QUOTE)
    return JsonAnswer(await caller.parts.service.quote(spec, org=org, project=spec.project))


@router.get("/jobs", response_model=shapes.JobPage, operation_id="listJobs")
async def listed(
    caller: Reader,
    project: str | None = None,
    state: State | None = None,
    name: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: str | None = None,
) -> JsonAnswer:
    """Jobs of the projects one may see, newest first."""
    projects = caller.projects
    if project is not None:
        caller.see_project(project)
        projects = {project}
    page = await caller.parts.service.jobs(projects, state=state, name=name, limit=limit, cursor=cursor)
    return JsonAnswer(page)


@router.get("/jobs/{job}", response_model=shapes.Job, operation_id="getJob")
async def shown(job: str, caller: Reader) -> JsonAnswer:
    """One job with its runs and receipt; by id, or by a name that only one job has."""
    return JsonAnswer(await caller.job(job, Action.JOB_READ))


@router.get("/jobs/{job}/why", response_model=shapes.Why, operation_id="whyJob")
async def why(job: str, caller: Reader) -> JsonAnswer:
    """Why the job waits, with numbers, and the smallest change that would start it."""
    found = await caller.job(job, Action.JOB_READ)
    return JsonAnswer(await caller.parts.service.why(found["id"]))


@router.get("/jobs/{job}/events", response_model=shapes.Items, operation_id="listJobEvents")
async def events(job: str, caller: Reader) -> JsonAnswer:
    """The job's own part of the log."""
    found = await caller.job(job, Action.JOB_READ)
    return JsonAnswer({"items": await caller.parts.service.job_events(found["id"])})


@router.post("/jobs/{job}/cancel", response_model=shapes.Job, operation_id="cancelJob")
async def cancel(job: str, caller: Controller) -> JsonAnswer:
    """End a job. 409 when it has ended already."""
    found = await caller.job(job, Action.JOB_CONTROL)
    return JsonAnswer(await caller.parts.service.cancel(found["id"], caller.principal.name))


@router.post("/jobs/{job}/requeue", response_model=shapes.Job, operation_id="requeueJob")
async def requeue(job: str, caller: Controller) -> JsonAnswer:
    """Stop the live attempt and queue the job again. 409 when it is not live."""
    found = await caller.job(job, Action.JOB_CONTROL)
    return JsonAnswer(await caller.parts.service.requeue(found["id"], caller.principal.name))


async def _submit(
    caller: Caller, org: str, project: str, items: Sequence[Submission]
) -> list[dict[str, Any] | UserError]:
    user = caller.principal.user
    return await caller.parts.service.submit(items, org=org, project=project, user=user)
