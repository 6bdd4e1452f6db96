"""What a job and an endpoint ask for alike: resources of a worker, where it may run, who pays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from maillage.documents import Finding, Findings, did_you_mean, require
from maillage.documents.words import Country, Name, OneOrMore, listed
from maillage.network.catalogue import ACCELERATORS, CPU

ClassName = Literal["reserved", "standard", "flexible"]
Optimise = Literal["wait", "carbon", "price"]


def whole(low: int, high: int) -> Any:
    """A whole number in a range; `true` and `"2"` are none."""
    return Field(strict=True, ge=low, le=high)


def _accelerators(value: Any) -> Any:
    words = listed(value)
    if not isinstance(words, list | tuple) or not words:
        raise Findings(
            Finding("must be an accelerator or a list of them", f"known: {', '.join(ACCELERATORS)}")
        )
    unknown = [str(word)[:60] for word in words if not isinstance(word, str) or word not in ACCELERATORS]
    findings = [Finding(f"no accelerator {word!r}", did_you_mean(word, ACCELERATORS)) for word in unknown]
    if CPU in words and len(words) > 1:
        findings.append(Finding("cpu stands beside accelerators", "ask for one or the other"))
    require(findings)
    return list(dict.fromkeys(words))


class Shape(BaseModel):
    """The base of everything people write: no unknown keys, no NaN, unchanging."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Resources(Shape):
    """What one worker takes, all on one node."""

    accelerator: Annotated[
        tuple[str, ...],
        BeforeValidator(_accelerators),
        WithJsonSchema(
            {
                "anyOf": [
                    {"enum": list(ACCELERATORS)},
                    {"type": "array", "items": {"enum": list(ACCELERATORS)}, "minItems": 1},
                ],
                "examples": ["H100", ["H100", "H200"]],
            }
        ),
    ] = Field((CPU,), description="any of these kinds will do; cpu asks for CPUs only")
    per_worker: Annotated[int, whole(1, 1024)] = Field(
        1, description="accelerators of a worker; CPUs where cpu"
    )
    cpus: Annotated[int, whole(0, 4096)] = Field(
        0, description="CPUs of a worker; 0 is the share that goes with its accelerators"
    )
    memory_gib: Annotated[float, Field(ge=0, le=65_536)] = Field(
        0.0, description="memory of a worker, GiB; 0 is the share that goes with its accelerators"
    )

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if self.accelerator == (CPU,) and self.cpus and self.per_worker not in (1, self.cpus):
            what = f"{self.cpus} CPUs, but per_worker says {self.per_worker}"
            raise Findings(Finding(what, "without accelerators both count CPUs: keep one", ("cpus",)))
        return self

    @property
    def units_per_worker(self) -> int:
        """Accelerators of a worker, or CPUs where it asks for no accelerator."""
        return max(self.per_worker, self.cpus) if self.accelerator == (CPU,) else self.per_worker

    @property
    def cpus_per_worker(self) -> int:
        """CPUs asked for beside accelerators; 0 for the share that goes with them."""
        return 0 if self.accelerator == (CPU,) else self.cpus

    @property
    def memory_mib(self) -> int:
        return math.ceil(self.memory_gib * 1024)


class Request(Shape):
    """The keys that jobs and endpoints share."""

    name: Name = Field(description="lower-case letters, digits and '-'", examples=["train-gpt"])
    project: Name = Field("default", description="the project that pays")
    resources: Resources = Field(Resources(), description="what one worker (or replica) takes")
    sites: Annotated[tuple[Name, ...], OneOrMore()] = Field(
        (), max_length=1000, description="sites that may run it; any where empty"
    )
    residency: Annotated[tuple[Country, ...], OneOrMore()] = Field(
        (), max_length=250, description="countries it may run in; any where empty"
    )
    optimise: Optimise = Field("wait", description="what to look at first where there is a choice")

    @property
    def accelerators(self) -> tuple[str, ...]:
        return self.resources.accelerator

    @property
    def per_worker(self) -> int:
        return self.resources.units_per_worker

    @property
    def cpus_per_worker(self) -> int:
        return self.resources.cpus_per_worker

    @property
    def memory_mib_per_worker(self) -> int:
        return self.resources.memory_mib

    @property
    def countries(self) -> tuple[str, ...]:
        return self.residency


def no_nul(text: str, noun: str, longest: int, at: tuple[str | int, ...]) -> Iterator[Finding]:
    """What makes a text unfit for a process: NUL bytes, or more characters than systems take."""
    if "\0" in text:
        yield Finding(f"{noun} holds a NUL byte", "take it out", at)
    if len(text.encode("utf-8", "surrogatepass")) > longest:
        yield Finding(f"{noun} is longer than {longest // 1024} KiB", "put it into a file of the workdir", at)
