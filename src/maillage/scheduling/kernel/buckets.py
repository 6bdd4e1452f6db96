"""Nodes by free units, domains by wholly free nodes: lists by count, found by bitmap.

A pool's partly free nodes stand in one list for each count of free units. Wholly free nodes stand
in their fabric domain's list, and the pool's domains in one list for each count of such nodes. So
"the fullest node that still takes it" and "the smallest domain that holds the gang" cost the same
on a hundred nodes and on four hundred thousand.
"""

from __future__ import annotations

import math
from typing import Any

from maillage.scheduling.kernel.compilation import compiled
from maillage.scheduling.kernel.layout import NONE, State

WORD = 32


@compiled
def set_bit(bits: Any, first: int, k: int) -> None:
    bits[first + k // WORD] |= 1 << (k % WORD)


@compiled
def clear_bit(bits: Any, first: int, k: int) -> None:
    bits[first + k // WORD] &= ~(1 << (k % WORD))


@compiled
def lowest_at_least(bits: Any, first: int, k: int, last: int) -> int:
    """The smallest set position in k..last, or NONE."""
    if k > last:
        return NONE
    word = k // WORD
    held = bits[first + word] & ~((1 << (k % WORD)) - 1)
    while held == 0:
        word += 1
        if word > last // WORD:
            return NONE
        held = bits[first + word]
    return word * WORD + int(math.log2(held & -held))


@compiled
def highest_at_most(bits: Any, first: int, k: int) -> int:
    """The largest set position in 1..k, or NONE."""
    if k < 1:
        return NONE
    word = k // WORD
    held = bits[first + word] & ((1 << (k % WORD + 1)) - 1)
    while held == 0:
        word -= 1
        if word < 0:
            return NONE
        held = bits[first + word]
    top = word * WORD + int(math.log2(held))
    return top if top >= 1 else NONE


@compiled
def shelve(state: State, domain: int, full: int) -> None:
    """Put a domain on the shelf of its count of wholly free nodes."""
    this = state.domains[domain]
    pool = state.pools[this.pool]
    old = this.full
    if old > 0:
        slot = pool.shelf_first + old
        if this.before == NONE:
            state.shelves[slot] = this.after
            if this.after == NONE:
                clear_bit(state.shelf_bits, pool.shelf_bits_first, old)
        else:
            state.domains[this.before].after = this.after
        if this.after != NONE:
            state.domains[this.after].before = this.before
    this.full = full
    if full > 0:
        slot = pool.shelf_first + full
        head = state.shelves[slot]
        this.after = head
        this.before = NONE
        if head != NONE:
            state.domains[head].before = domain
        else:
            set_bit(state.shelf_bits, pool.shelf_bits_first, full)
        state.shelves[slot] = domain


@compiled
def unlist(state: State, node: int) -> None:
    """Take a node out of the list it stands in."""
    this = state.nodes[node]
    k = this.seen
    if k == 0:
        return
    pool = state.pools[this.pool]
    if this.before != NONE:
        state.nodes[this.before].after = this.after
    elif k == pool.units:
        state.domains[this.domain].head = this.after
    else:
        state.buckets[pool.bucket_first + k] = this.after
        if this.after == NONE:
            clear_bit(state.bits, pool.bits_first, k)
    if this.after != NONE:
        state.nodes[this.after].before = this.before
    if k == pool.units:
        shelve(state, this.domain, state.domains[this.domain].full - 1)
    this.seen = 0


@compiled
def enlist(state: State, node: int, k: int) -> None:
    """Put a node in the list of nodes with `k` units free."""
    this = state.nodes[node]
    this.seen = k
    if k == 0:
        return
    pool = state.pools[this.pool]
    this.before = NONE
    if k == pool.units:
        domain = state.domains[this.domain]
        this.after = domain.head
        domain.head = node
        shelve(state, this.domain, domain.full + 1)
    else:
        slot = pool.bucket_first + k
        this.after = state.buckets[slot]
        state.buckets[slot] = node
        set_bit(state.bits, pool.bits_first, k)
    if this.after != NONE:
        state.nodes[this.after].before = node
