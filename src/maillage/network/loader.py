"""Network file -> `Network`, or every problem at once with its line and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from maillage import documents
from maillage.documents import Document, Path
from maillage.errors import Problem, Problems
from maillage.network.catalogue import ACCELERATORS
from maillage.network.file import NetworkShape, PoolShape, SiteShape
from maillage.network.model import (
    ALWAYS,
    Cooling,
    Grid,
    GridStep,
    HostSize,
    Network,
    Place,
    Pool,
    Site,
)
from maillage.units import credit_micros

DEFAULT_HOST = HostSize(cpus=4, memory_gib=8.0)


def parse(text: str | bytes, source: str = "network", host: HostSize = DEFAULT_HOST) -> Network:
    """The network a file describes; `host` is the machine that the file's word `host` means.

    Raises Problems. Rules between sites and pools are checked once every value has its right shape.
    """
    found = documents.read(text, source)
    if len(found) > 1:
        raise Problems([found[1].problem((), "is a second document", "write one network to a file")])
    shape, problems = documents.fit(found[0], NetworkShape)
    twice = tuple(_twice(found[0]))
    if shape is None or twice:
        raise Problems(sorted(problems + twice, key=lambda problem: problem.line))
    network = Network(shape.name, tuple(_site(site, host) for site in shape.sites))
    too_weak = tuple(_too_weak(network, found[0]))
    if too_weak:
        raise Problems(too_weak)
    return network


def _twice(document: Document) -> Iterator[Problem]:
    """Ids that stand twice, from the plain values: told also where something else is wrong."""
    sites = _items(document.value, "sites")
    yield from _repeated(document, ("sites",), sites, "site")
    for index, site in enumerate(sites):
        yield from _repeated(document, ("sites", index, "pools"), _items(site, "pools"), "pool")


def _items(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _repeated(document: Document, path: Path, items: list[Any], noun: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        name = item.get("id") if isinstance(item, dict) else None
        if not isinstance(name, str):
            continue
        if name in first:
            line = document.line((*path, first[name], "id"))
            what = f"{noun} id {name!r} stands twice, first in line {line}"
            yield document.problem((*path, index, "id"), what, "rename one of them")
        first.setdefault(name, index)


def _site(shape: SiteShape, host: HostSize) -> Site:
    return Site(
        id=shape.id,
        place=Place(shape.place.lat, shape.place.lon, shape.place.country),
        grid=Grid(
            shape.grid.zone,
            shape.grid.connection_mw,
            tuple(GridStep(step.opens, step.connection_mw) for step in shape.grid.steps),
        ),
        cooling=Cooling(shape.cooling.kind, shape.cooling.supply_c),
        pools=tuple(_pool(shape.id, pool, host) for pool in shape.pools),
        operator=shape.operator,
    )


def _pool(site: str, shape: PoolShape, host: HostSize) -> Pool:
    device = ACCELERATORS[shape.accelerator]
    cpus, memory_gib = shape.cpus_per_node, shape.memory_gib_per_node
    gpus = device.gpus_per_node if shape.gpus_per_node is None else shape.gpus_per_node
    price = shape.price_credits_per_hour
    return Pool(
        site=site,
        id=shape.id,
        accelerator=shape.accelerator,
        nodes=shape.nodes,
        gpus_per_node=gpus,
        cpus_per_node=cpus if isinstance(cpus, int) else max(host.cpus, shape.cpus_at_least or 1),
        memory_gib_per_node=host.memory_gib if isinstance(memory_gib, str) else memory_gib,
        nodes_per_domain=shape.nodes_per_domain or shape.nodes,
        engine=shape.engine.kind,
        opens=shape.opens or ALWAYS,
        price_credit_micros=credit_micros(device.credits_per_hour if price is None else price),
    )


def _too_weak(network: Network, document: Document) -> Iterator[Problem]:
    """A connection must carry at least what its open nodes draw when idle, on every day something opens."""
    days: tuple[date, ...] = (ALWAYS, *network.dates)
    for s, site in enumerate(network.sites):
        for day in days:
            idle_mw = sum(pool.idle_kw for pool in site.pools if pool.opens <= day) / 1000
            connection_mw = site.grid.connection_mw_on(day)
            if idle_mw <= connection_mw:
                continue
            when = "" if day == ALWAYS else f" on {day}"
            what = f"{connection_mw:g} MW{when} is less than the {idle_mw:.4g} MW that the idle nodes draw"
            path = ("sites", s, "grid", "steps" if site.grid.steps else "connection_mw")
            yield document.problem(path, what, "raise the connection, or open fewer nodes by then")
            break
