"""What an agent holds of a run: its order, how far it has come, and what is to be told of it."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from maillage.control.protocol import StopOrder
from maillage.engines.port import RunOrder, RunReport
from maillage.workloads.lifecycle import RunState

_ORDER: TypeAdapter[RunOrder] = TypeAdapter(RunOrder)


class Phase(Enum):
    STAGING = "staging"  # its files are being brought; the engine has not got it
    ENGINE = "engine"  # the engine has it
    KEEPING = "keeping"  # it ended; checkpoint, outputs and logs are on their way
    ENDED = "ended"  # all that is told; waits for the network to know


@dataclass(slots=True, eq=False)
class Held:
    """`report` is what is told; `told` what the network answered to last."""

    order: RunOrder
    folder: Path
    phase: Phase = Phase.STAGING
    report: RunReport = field(default_factory=lambda: RunReport("", RunState.ACCEPTED))
    told: RunReport | None = None
    stop: StopOrder | None = None
    over_upstream: bool = False  # nobody wants its end any more
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    log_offsets: dict[int, int] = field(default_factory=dict)
    checkpoint_mark: tuple[tuple[str, int, int], ...] = ()
    checkpoint_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def run_id(self) -> str:
        return self.order.run_id

    @property
    def is_no_op(self) -> bool:
        return self.order.is_no_op and not self.needs_files

    @property
    def needs_files(self) -> bool:
        order = self.order
        return bool(order.workdir or order.inputs or order.restore or order.checkpoint_path)

    @property
    def has_news(self) -> bool:
        """CPU time alone is no news: it goes with the next full call."""
        if self.told is None:
            return True
        return replace(self.report, metered_cpu_s=0.0) != replace(self.told, metered_cpu_s=0.0)


def write_order(folder: Path, order: RunOrder) -> None:
    """Keep an order for the agent's next life, without its secrets."""
    _write(folder / "order.json", _ORDER.dump_json(replace(order, secrets={})))


def read_order(folder: Path) -> RunOrder | None:
    try:
        return _ORDER.validate_json((folder / "order.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_kept(folder: Path, report: RunReport) -> None:
    """Keep what was uploaded, so that a new life of the agent can tell it."""
    body = {"checkpoint": report.checkpoint, "checkpoint_at_ms": report.checkpoint_at_ms}
    _write(folder / "kept.json", json.dumps(body).encode())


def read_kept(folder: Path, report: RunReport) -> RunReport:
    try:
        body = json.loads((folder / "kept.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return report
    return replace(report, checkpoint=body["checkpoint"], checkpoint_at_ms=body["checkpoint_at_ms"])


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(data)
    temporary.replace(path)
