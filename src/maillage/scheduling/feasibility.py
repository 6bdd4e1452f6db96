"""Whether a job could ever run on a network, and as what in which pool.

A pool is shared by units: accelerators, or CPUs where it has none. CPUs and memory go with a unit in
proportion; a worker that wants more than its accelerators' share of either takes as many units as
cover it, so no resource of a node is promised twice (docs/decisions/0004).
"""

from __future__ import annotations

from dataclasses import dataclass

from maillage.errors import Invalid
from maillage.network.model import Network, Pool
from maillage.scheduling.messages import Submitted


@dataclass(frozen=True, slots=True)
class Choice:
    """A pool (by its number in `network.pools`) that could take the job, and units per worker there."""

    pool: int
    units: int


def units_per_worker(pool: Pool, job: Submitted) -> int:
    """Units of a node that one worker takes: the largest of its accelerator, CPU and memory shares."""
    cpus, memory_mib = job.cpus_per_worker, job.memory_mib_per_worker
    units = max(1, job.per_worker)
    if cpus:
        units = max(units, -(-cpus * pool.units_per_node // pool.cpus_per_node))
    if memory_mib:
        units = max(units, -(-memory_mib * pool.units_per_node // pool.memory_mib_per_node))
    return units


def choices(network: Network, job: Submitted) -> tuple[Choice, ...]:
    """Every pool that could run the job were it empty and up, in the network's order."""
    found = []
    for number, pool in enumerate(network.pools):
        if _unwanted(network, pool, job):
            continue
        units = units_per_worker(pool, job)
        if units <= pool.units_per_node and job.workers <= pool.nodes * (pool.units_per_node // units):
            found.append(Choice(number, units))
    return tuple(found)


def check(network: Network, job: Submitted) -> None:
    """Raise `Invalid` for a job that no pool could ever run, saying what would fit, or that names a site
    nobody knows."""
    sites = [site.id for site in network.sites]
    unknown = [site for site in job.sites if site not in sites]
    if unknown:
        raise Invalid(f"network {network.name} has no site {', '.join(unknown)}; it has {', '.join(sites)}")
    if choices(network, job):
        return
    kinds = list(dict.fromkeys(pool.accelerator for pool in network.pools))
    if not set(kinds) & set(job.accelerators):
        raise Invalid(
            f"{_asked(job)} can never run on network {network.name}: no pool of it has "
            f"{' or '.join(job.accelerators)}; it has {', '.join(kinds)}"
        )
    reasons = [f"  {pool.site}/{pool.id}: {_refusal(network, pool, job)}" for pool in network.pools]
    raise Invalid(f"{_asked(job)} can never run on network {network.name}:\n" + "\n".join(reasons))


def _unwanted(network: Network, pool: Pool, job: Submitted) -> bool:
    site = network.site(pool.site)
    return (
        pool.accelerator not in job.accelerators
        or bool(job.sites and site.id not in job.sites)
        or bool(job.countries and site.country not in job.countries)
    )


def _asked(job: Submitted) -> str:
    kinds = " or ".join(job.accelerators)
    return f"a gang of {job.workers} x {job.per_worker} {kinds}"


def _refusal(network: Network, pool: Pool, job: Submitted) -> str:
    site = network.site(pool.site)
    if pool.accelerator not in job.accelerators:
        return f"has {pool.accelerator}"
    if job.sites and site.id not in job.sites:
        return f"site is not among those asked for ({', '.join(job.sites)})"
    if job.countries and site.country not in job.countries:
        return f"lies in {site.country}, residency asks for {', '.join(job.countries)}"
    units = units_per_worker(pool, job)
    if units > pool.units_per_node:
        return (
            f"a worker takes {units} {pool.accelerator} of one node, a node has {pool.units_per_node}"
            f" ({pool.cpus_per_node} CPUs, {pool.memory_gib_per_node:g} GiB)"
        )
    most = pool.nodes * (pool.units_per_node // units)
    return f"holds at most {most} such workers, {job.workers} asked for"
