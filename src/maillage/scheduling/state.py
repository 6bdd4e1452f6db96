"""Builds and grows the kernel's arrays from a network. Nothing here decides."""

from __future__ import annotations

from typing import Any

import numpy as np

from maillage.network.model import Network
from maillage.scheduling.kernel import layout
from maillage.scheduling.kernel.layout import NONE, State
from maillage.scheduling.policy import Policy

DECAY_PERIOD_S = 3600
WORD = 32
MW_PER_KW = 1_000_000  # milliwatts


def build(network: Network, policy: Policy, jobs: int = 256) -> State:
    """The state of an empty network with every node up and every site open."""
    pools = layout.records(len(network.pools), layout.POOL)
    nodes_total = sum(pool.nodes for pool in network.pools)
    units_total = sum(pool.units for pool in network.pools)
    buckets = bits = shelves = shelf_bits = node = domain = 0
    site_number = {site.id: number for number, site in enumerate(network.sites)}
    for number, pool in enumerate(network.pools):
        row = pools[number]
        row.site, row.line = site_number[pool.site], number
        row.node_first, row.nodes, row.units = node, pool.nodes, pool.units_per_node
        row.domain_first, row.domains = domain, -(-pool.nodes // pool.nodes_per_domain)
        row.bucket_first, row.bits_first = buckets, bits
        row.shelf_first, row.shelf_bits_first = shelves, shelf_bits
        row.shelf_last = min(pool.nodes_per_domain, pool.nodes)
        row.shape_first = row.head = row.reserved = NONE
        row.shadow_s = layout.FOREVER
        node += pool.nodes
        domain += row.domains
        buckets += row.units + 1
        bits += row.units // WORD + 1
        shelves += row.shelf_last + 1
        shelf_bits += row.shelf_last // WORD + 1
    state = State(
        core=_core(network, policy),
        jobs=layout.chained(jobs, layout.JOB, "chain"),
        nodes=layout.records(nodes_total, layout.NODE),
        domains=layout.records(domain, layout.DOMAIN),
        pools=pools,
        shapes=layout.records(16, layout.SHAPE),
        asks=layout.records(16, layout.ASK),
        choices=np.zeros(64, np.int32),
        sites=layout.records(len(network.sites), layout.SITE),
        orgs=_orgs(4),
        lines=_lines(len(network.pools) + 4 * layout.CLASSES),
        blocks=layout.chained(_blocks_for(jobs, len(pools) + 12), layout.BLOCK, "after"),
        rows=np.zeros((_blocks_for(jobs, len(pools) + 12), layout.BLOCK_ROWS), np.int32),
        entries=layout.chained(units_total + nodes_total + 1, layout.ENTRY, "after"),
        edges=layout.chained(64, layout.EDGE, "after"),
        buckets=np.full(buckets, NONE, np.int32),
        bits=np.zeros(bits, np.int64),
        shelves=np.full(shelves, NONE, np.int32),
        shelf_bits=np.zeros(shelf_bits, np.int64),
        active=np.zeros(4 * layout.CLASSES, np.int32),
        heap=np.zeros(4 * layout.CLASSES, np.int32),
        victims=np.zeros(jobs, np.int32),
        spread=np.zeros((8, len(network.sites)), np.int32),
        commands=layout.records(2 * jobs, layout.COMMAND),
    )
    _fill_sites(state, network)
    _fill_nodes(state, network)
    return state


def _core(network: Network, policy: Policy) -> Any:
    core = layout.records(1, layout.CORE)
    row = core[0]
    row.backfill = layout.FCFS if policy.backfill == "fcfs" else layout.EASY
    row.fair, row.preempt = policy.fair, policy.preempt
    row.sites, row.pools, row.orgs = len(network.sites), len(network.pools), 0
    row.fresh = row.doomed = row.to_stop = NONE
    row.grace_s = policy.grace_s
    row.decay_period_s = DECAY_PERIOD_S
    row.decay_factor = 0.5 ** (DECAY_PERIOD_S / policy.half_life_s)
    row.weight_carbon, row.weight_price = policy.weight_carbon, policy.weight_price
    return core


def _orgs(count: int) -> Any:
    orgs = layout.records(count, layout.ORG)
    orgs["weight"] = 1.0
    return orgs


def _lines(count: int) -> Any:
    lines = layout.records(count, layout.LINE)
    for name in ("first", "last", "place", "cursor"):
        lines[name] = NONE
    return lines


def _blocks_for(jobs: int, lines: int) -> int:
    """Neighbouring blocks of a line hold more than half a block together, so this is enough."""
    return 4 * jobs // layout.BLOCK_ROWS + 2 * lines + 2


def _fill_sites(state: State, network: Network) -> None:
    for number, site in enumerate(network.sites):
        state.sites[number].limit_mw = NONE
        state.sites[number].idle_mw = state.sites[number].load_mw = int(site.idle_kw * MW_PER_KW)
    for number, pool in enumerate(network.pools):
        state.pools[number].unit_mw = int((pool.peak_kw - pool.idle_kw) * MW_PER_KW / pool.units)


def _fill_nodes(state: State, network: Network) -> None:
    """Every node free, up, and standing in its domain's list; built at once, not one by one."""
    nodes, domains = state.nodes, state.domains
    nodes["past"] = layout.UNBOUND
    nodes["up"] = 1
    for number, pool in enumerate(network.pools):
        row = state.pools[number]
        first, last = row.node_first, row.node_first + row.nodes
        span = np.arange(row.nodes)
        here = slice(first, last)
        nodes["pool"][here] = number
        nodes["domain"][here] = row.domain_first + span // pool.nodes_per_domain
        for name in ("free", "seen", "room", "counted"):
            nodes[name][here] = row.units
        starts = span % pool.nodes_per_domain == 0
        ends = np.append(starts[1:], True)
        nodes["before"][here] = np.where(starts, NONE, first + span - 1)
        nodes["after"][here] = np.where(ends, NONE, first + span + 1)
        row.free_units = pool.units
        for domain in range(row.domain_first, row.domain_first + row.domains):
            offset = (domain - row.domain_first) * pool.nodes_per_domain
            domains[domain].pool = number
            domains[domain].head = first + offset
            full = min(pool.nodes_per_domain, row.nodes - offset)
            slot = row.shelf_first + full
            head = state.shelves[slot]
            domains[domain].full = full
            domains[domain].before, domains[domain].after = NONE, head
            if head != NONE:
                domains[head].before = domain
            state.shelves[slot] = domain
            state.shelf_bits[row.shelf_bits_first + full // WORD] |= 1 << (full % WORD)


def _longer(array: Any, count: int) -> Any:
    longer = np.zeros((count, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer.view(np.recarray) if array.dtype.names else longer


def _chain_on(array: Any, count: int, link: str, free: int) -> tuple[Any, int]:
    """A longer copy whose new rows stand in front of the free list that begins at `free`."""
    old = len(array)
    longer = _longer(array, count)
    longer[link][old:] = np.arange(old + 1, count + 1)
    longer[link][-1] = free
    return longer, old


def with_jobs(state: State) -> State:
    """Room for as many jobs again (and their blocks, commands and scratch)."""
    core = state.core[0]
    count = 2 * len(state.jobs)
    jobs, core.job_free = _chain_on(state.jobs, count, "chain", core.job_free)
    state = state._replace(
        jobs=jobs, victims=np.zeros(count, np.int32), commands=_longer(state.commands, 2 * count)
    )
    return _with_blocks(state)


def _with_blocks(state: State) -> State:
    core = state.core[0]
    wanted = _blocks_for(len(state.jobs), len(state.lines))
    if wanted <= len(state.blocks):
        return state
    blocks, core.block_free = _chain_on(state.blocks, wanted, "after", core.block_free)
    return state._replace(blocks=blocks, rows=_longer(state.rows, wanted))


def with_edges(state: State) -> State:
    """Room for as many dependencies again."""
    core = state.core[0]
    edges, core.edge_free = _chain_on(state.edges, 2 * len(state.edges), "after", core.edge_free)
    return state._replace(edges=edges)


def with_orgs(state: State, count: int) -> State:
    """Room for `count` organisations, each with a waiting line for each class."""
    lines = len(state.pools) + count * layout.CLASSES
    longer = _lines(lines)
    longer[: len(state.lines)] = state.lines
    orgs = _orgs(count)
    orgs[: len(state.orgs)] = state.orgs
    state = state._replace(
        orgs=orgs,
        lines=longer,
        active=_longer(state.active, count * layout.CLASSES),
        heap=np.zeros(count * layout.CLASSES, np.int32),
    )
    return _with_blocks(state)


def with_shapes(state: State, shapes: int, asks: int, choices: int, spreads: int) -> State:
    """Room for so many shapes, asks, choices and spread groups in all."""
    return state._replace(
        shapes=_longer(state.shapes, max(shapes, len(state.shapes))),
        asks=_longer(state.asks, max(asks, len(state.asks))),
        choices=_longer(state.choices, max(choices, len(state.choices))),
        spread=_longer(state.spread, max(spreads, len(state.spread))),
    )


def copy(state: State) -> State:
    """A state of its own, for running ahead."""
    return State(*(array.copy() for array in state))
