"""Which replica gets the next request: pure, a documented order.

Only ready replicas are asked. Those that failed a moment ago come last, then the fewest requests under
way come first, then the cleaner site, then the id. A replica that is full gets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol


class Replica(Protocol):
    """What routing needs to know of a replica; the control plane's own record of a run satisfies it.

    `address` is `http://127.0.0.1:PORT` or where else it answers; `run_id` is unique.
    """

    @property
    def run_id(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def ready(self) -> bool: ...


def ready_replicas(replicas: Sequence[Replica]) -> tuple[Replica, ...]:
    return tuple(replica for replica in replicas if replica.ready and replica.address)


def route(
    replicas: Sequence[Replica],
    in_flight: Mapping[str, int],
    *,
    limit: int,
    suspects: Collection[str] = (),
    carbon_g_per_kwh: Callable[[str], float] = lambda site: 0.0,
) -> tuple[Replica, ...]:
    """The replicas to try, best first; empty when none is ready or all carry `limit` requests.

    `in_flight` counts requests by run id, `suspects` holds run ids that failed a moment ago,
    `carbon_g_per_kwh` tells a site's grid carbon now.
    """
    free = [replica for replica in ready_replicas(replicas) if in_flight.get(replica.run_id, 0) < limit]
    return tuple(
        sorted(
            free,
            key=lambda replica: (
                replica.run_id in suspects,
                in_flight.get(replica.run_id, 0),
                carbon_g_per_kwh(replica.site),
                replica.run_id,
            ),
        )
    )
