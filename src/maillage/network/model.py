"""What exists: a network of sites, each with pools of identical nodes. Plain values; the loader checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from maillage.errors import NotFound
from maillage.network.catalogue import CPU, Accelerator, accelerator

ALWAYS = date.min  # a pool or a grid step that was there from the start


@dataclass(frozen=True, slots=True)
class HostSize:
    """The machine that a network file may mean by `host`."""

    cpus: int
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Place:
    """Degrees north and east; `country` is ISO 3166-1 alpha-2."""

    lat: float
    lon: float
    country: str


@dataclass(frozen=True, slots=True)
class GridStep:
    """The connection grows to `connection_mw` on a day."""

    opens: date
    connection_mw: float


@dataclass(frozen=True, slots=True)
class Grid:
    """`zone` names the recorded carbon and price series; `connection_mw` is the contract once built."""

    zone: str
    connection_mw: float
    steps: tuple[GridStep, ...] = ()

    def connection_mw_on(self, day: date) -> float:
        """The contract in force on a day: the last step opened, 0 before the first.

        >>> steps = (GridStep(date(2027, 12, 31), 240.0), GridStep(date(2029, 12, 31), 700.0))
        >>> Grid("FR", 700.0, steps).connection_mw_on(date(2028, 6, 1))
        240.0
        """
        if not self.steps:
            return self.connection_mw
        return max((step.connection_mw for step in self.steps if step.opens <= day), default=0.0)


@dataclass(frozen=True, slots=True)
class Cooling:
    """`supply_c`: temperature of the coolant sent to the racks."""

    kind: str = "dry"
    supply_c: float = 40.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Identical nodes of a site. `accelerator` is a name of the catalogue; `cpu` has no accelerators.

    A *unit* is what a node is shared by: its accelerators, or its CPUs where it has none.
    `price_credit_micros` is per unit and hour. `engine` names the kind of engine that runs it.
    """

    site: str
    id: str
    accelerator: str
    nodes: int
    gpus_per_node: int
    cpus_per_node: int
    memory_gib_per_node: float
    nodes_per_domain: int
    engine: str = "local"
    opens: date = ALWAYS
    price_credit_micros: int = 0

    @property
    def is_cpu(self) -> bool:
        return self.accelerator == CPU

    @property
    def device(self) -> Accelerator:
        return accelerator(self.accelerator)

    @property
    def units_per_node(self) -> int:
        return self.cpus_per_node if self.is_cpu else self.gpus_per_node

    @property
    def units(self) -> int:
        return self.nodes * self.units_per_node

    @property
    def domains(self) -> int:
        return self.nodes // self.nodes_per_domain

    @property
    def memory_mib_per_node(self) -> int:
        return int(self.memory_gib_per_node * 1024)

    @property
    def cpus_per_unit(self) -> float:
        """A unit's share of its node's CPUs."""
        return self.cpus_per_node / self.units_per_node

    @property
    def memory_mib_per_unit(self) -> int:
        return self.memory_mib_per_node // self.units_per_node

    @property
    def idle_kw(self) -> float:
        """IT power with every node up and nothing running."""
        return self.nodes * self.device.node_idle_w(self.units_per_node) / 1000

    @property
    def peak_kw(self) -> float:
        """IT power with every unit at its highest."""
        return self.nodes * self.device.node_peak_w(self.units_per_node) / 1000


@dataclass(frozen=True, slots=True)
class Site:
    """A place with one grid connection and one engine room, run by `operator`."""

    id: str
    place: Place
    grid: Grid
    cooling: Cooling
    pools: tuple[Pool, ...]
    operator: str = ""

    @property
    def country(self) -> str:
        return self.place.country

    @property
    def connection_kw(self) -> float:
        return self.grid.connection_mw * 1000

    @property
    def idle_kw(self) -> float:
        return sum(pool.idle_kw for pool in self.pools)

    @property
    def peak_kw(self) -> float:
        return sum(pool.peak_kw for pool in self.pools)

    @property
    def gpus(self) -> int:
        return sum(pool.units for pool in self.pools if not pool.is_cpu)

    def pool(self, pool_id: str) -> Pool:
        for pool in self.pools:
            if pool.id == pool_id:
                return pool
        known = ", ".join(pool.id for pool in self.pools)
        raise NotFound(f"site {self.id} has no pool {pool_id!r}; it has: {known}")


@dataclass(frozen=True, slots=True)
class Network:
    """Sites in the order of their file."""

    name: str
    sites: tuple[Site, ...]

    @property
    def pools(self) -> tuple[Pool, ...]:
        return tuple(pool for site in self.sites for pool in site.pools)

    @property
    def gpus(self) -> int:
        return sum(site.gpus for site in self.sites)

    @property
    def dates(self) -> tuple[date, ...]:
        """The days on which something opens, in order; what was always there is no day."""
        days = {pool.opens for pool in self.pools}
        days |= {step.opens for site in self.sites for step in site.grid.steps}
        return tuple(sorted(days - {ALWAYS}))

    def site(self, site_id: str) -> Site:
        for site in self.sites:
            if site.id == site_id:
                return site
        known = ", ".join(site.id for site in self.sites)
        raise NotFound(f"no site {site_id!r}; known: {known}")

    def pool(self, site_id: str, pool_id: str) -> Pool:
        return self.site(site_id).pool(pool_id)

    def on(self, day: date) -> Network:
        """The network as built on a day: open pools, connections in force; empty sites left out."""
        sites = []
        for site in self.sites:
            pools = tuple(pool for pool in site.pools if pool.opens <= day)
            if pools:
                grid = Grid(site.grid.zone, site.grid.connection_mw_on(day))
                sites.append(replace(site, pools=pools, grid=grid))
        return replace(self, sites=tuple(sites))
