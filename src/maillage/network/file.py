"""The shape of a network file: what may be written, each key with its meaning and bounds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from maillage.documents import Finding, Findings, did_you_mean, require
from maillage.documents.words import Country, Name, number_or_word
from maillage.network.catalogue import ACCELERATORS, CPU

EngineKind = Literal["local", "slurm", "kubernetes", "ray", "simulated"]
CoolingKind = Literal["dry", "chiller"]


Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
CpusOrHost = Annotated[
    int | Literal["host"],
    BeforeValidator(
        number_or_word("host", lambda n: 1 <= n <= 100_000 and float(n).is_integer(), "write CPUs, or host")
    ),
]
GibOrHost = Annotated[
    float | Literal["host"],
    BeforeValidator(number_or_word("host", lambda n: 0 < n <= 1_000_000, "write GiB, or host")),
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PlaceShape(_Shape):
    lat: float = Field(ge=-90, le=90, description="degrees north")
    lon: float = Field(ge=-180, le=180, description="degrees east")
    country: Country = Field(description="ISO 3166-1 alpha-2, for residency rules")


class StepShape(_Shape):
    opens: date = Field(description="the day from which this much may be drawn")
    connection_mw: float = Field(gt=0, le=100_000)


class GridShape(_Shape):
    zone: str = Field(min_length=1, max_length=40, description="names the recorded carbon and price series")
    connection_mw: float = Field(gt=0, le=100_000, description="the grid contract when all is built, MW")
    steps: tuple[StepShape, ...] = Field((), max_length=50, description="how the contract grows")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        days = [step.opens for step in self.steps]
        if days != sorted(set(days)):
            raise Findings(Finding("steps are not in the order of their days", "sort by `opens`", ("steps",)))
        if self.steps and self.steps[-1].connection_mw != self.connection_mw:
            what = f"the last step, {self.steps[-1].connection_mw:g} MW, is not the contract"
            raise Findings(Finding(what, f"end with {self.connection_mw:g} MW", ("steps", len(days) - 1)))
        return self


class CoolingShape(_Shape):
    kind: CoolingKind = "dry"
    supply_c: float = Field(40.0, ge=5, le=60, description="temperature of the coolant sent to the racks")


class EngineShape(_Shape):
    kind: EngineKind = "local"


def _accelerator(value: Any) -> str:
    if not isinstance(value, str) or value not in ACCELERATORS:
        mend = did_you_mean(str(value)[:60], ACCELERATORS)
        raise Findings(Finding(f"no accelerator {str(value)[:60]!r} in the catalogue", mend))
    return value


class PoolShape(_Shape):
    id: Name
    accelerator: Annotated[str, BeforeValidator(_accelerator)] = Field(
        description="a name of the catalogue; cpu where nodes have none",
        json_schema_extra={"enum": list(ACCELERATORS)},
    )
    nodes: Count
    gpus_per_node: Annotated[int, Field(strict=True, ge=0, le=1024)] | None = Field(
        None, description="accelerators of a node; as usual for the device where not said"
    )
    cpus_per_node: CpusOrHost = Field(description="CPUs (hardware threads) of a node; host: this machine's")
    cpus_at_least: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = Field(
        None, description="with `cpus_per_node: host`: claim this many where the machine has fewer"
    )
    memory_gib_per_node: GibOrHost = Field(description="memory of a node, GiB; host: this machine's")
    nodes_per_domain: Count | None = Field(
        None, description="nodes of a fabric domain (rack, leaf switch); all where not said"
    )
    engine: EngineShape = Field(EngineShape(), description="what runs the jobs there")
    opens: date | None = Field(None, description="the day it is there; from the start where not said")
    price_credits_per_hour: Annotated[float, Field(ge=0, le=1e6)] | None = Field(
        None, description="credits per accelerator-hour or CPU-hour; the catalogue's where not said"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        require(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        device, per_domain = ACCELERATORS[self.accelerator], self.nodes_per_domain
        if device.name == CPU and self.gpus_per_node:
            what = f"a cpu pool has no accelerators, not {self.gpus_per_node}"
            yield Finding(what, "take the key out, or name the accelerator", ("gpus_per_node",))
        if device.name != CPU and self.gpus_per_node == 0:
            what = f"{device.name} nodes with 0 accelerators"
            yield Finding(what, f"usual is {device.gpus_per_node}", ("gpus_per_node",))
        if self.cpus_at_least is not None and self.cpus_per_node != "host":
            yield Finding("goes only with `cpus_per_node: host`", "take the key out", ("cpus_at_least",))
        if per_domain is not None and self.nodes % per_domain:
            below = self.nodes - self.nodes % per_domain
            near = f"{below} or {below + per_domain}" if below else str(per_domain)
            what = f"{per_domain} nodes to a domain do not divide {self.nodes} nodes"
            yield Finding(what, f"with {per_domain} to a domain, nodes: {near}", ("nodes_per_domain",))


class SiteShape(_Shape):
    id: Name
    operator: str = Field("", max_length=200, description="who owns it and is paid for it")
    place: PlaceShape
    grid: GridShape
    cooling: CoolingShape = CoolingShape()
    pools: tuple[PoolShape, ...] = Field(min_length=1, max_length=1000)


class NetworkShape(_Shape):
    name: Name
    sites: tuple[SiteShape, ...] = Field(min_length=1, max_length=1000)
