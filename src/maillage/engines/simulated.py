"""The simulated engine: the same six verbs on a clock that is handed in; it starts no process.

What a run does is told by a function from its order to a `Script`. It ships, and it passes the same
contract suite as the engines that run for real, so what is learned with it holds for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from maillage.engines.port import PoolCapacity, RunOrder, RunReport
from maillage.workloads.lifecycle import ENDINGS, EndReason, RunState


@dataclass(frozen=True, slots=True)
class Script:
    """What a run would do: last `run_s` of its own, exit so by rank, and say this.

    `end` overrides why it ended (an out-of-memory, a command that is not there). A run that
    `heeds_stop` ends `stop_s` after it is told to, another only when its grace is over.
    """

    run_s: float = 0.0
    start_s: float = 0.0
    exit_codes: tuple[int, ...] = ()
    end: EndReason | None = None
    output: bytes = b""
    heeds_stop: bool = True
    stop_s: float = 0.0


@dataclass(slots=True)
class _Run:
    order: RunOrder
    script: Script
    begun_s: float
    started_s: float
    ends_s: float
    reason: EndReason
    report: RunReport
    wished: bool = False


class SimulatedEngine:
    """`clock` gives seconds since the Unix epoch (or the scenario's start)."""

    def __init__(
        self,
        clock: Callable[[], float],
        pools: tuple[PoolCapacity, ...],
        behaviour: Callable[[RunOrder], Script] = lambda order: Script(),
    ) -> None:
        self._clock = clock
        self._pools = pools
        self._behaviour = behaviour
        self._runs: dict[str, _Run] = {}
        self._contact_s = clock()

    def capacity(self) -> tuple[PoolCapacity, ...]:
        return self._pools

    def start(self, order: RunOrder, directory: Path) -> None:
        if order.run_id in self._runs:
            return
        script = self._behaviour(order)
        codes = script.exit_codes or (0,) * order.workers
        own_end = EndReason.SUCCEEDED if not any(codes) else EndReason.FAILED
        now_s = self._clock()
        started_s = now_s + script.start_s
        run = _Run(
            order,
            script,
            begun_s=now_s,
            started_s=started_s,
            ends_s=started_s + script.run_s,
            reason=script.end or own_end,
            report=RunReport(order.run_id, RunState.STARTING, exit_codes=codes),
        )
        if 0 < order.time_limit_s < script.run_s:
            run.ends_s = self._obeyed_s(run, started_s + order.time_limit_s, order.grace_s)
            run.reason = EndReason.TIMED_OUT
        self._runs[order.run_id] = run

    def _obeyed_s(self, run: _Run, told_s: float, grace_s: float) -> float:
        """When the run is gone that is told to stop at `told_s`."""
        wanted_s = run.script.stop_s if run.script.heeds_stop else grace_s
        return min(run.ends_s, told_s + min(wanted_s, grace_s))

    def stop(self, run_id: str, reason: EndReason, grace_s: float) -> None:
        run = self._runs.get(run_id)
        if run is None or self._look(run).state.ended:
            return
        ends_s = self._obeyed_s(run, self._clock(), grace_s)
        if run.wished or ends_s <= run.ends_s:
            run.ends_s, run.reason, run.wished = min(ends_s, run.ends_s), reason, True

    def observe(self) -> tuple[RunReport, ...]:
        return tuple(self._look(run) for run in self._runs.values())

    def _look(self, run: _Run) -> RunReport:
        now_s = self._clock()
        self._heed_lease(run, now_s)
        if now_s >= run.ends_s:
            codes = run.report.exit_codes if not run.wished else (143,) * run.order.workers
            return replace(
                run.report,
                state=ENDINGS[run.reason].run,
                reason=run.reason,
                message="" if run.reason is EndReason.SUCCEEDED else f"simulated: {run.reason.value}",
                started_at_ms=int(min(run.started_s, run.ends_s) * 1000),
                ended_at_ms=int(run.ends_s * 1000),
                exit_codes=codes,
            )
        if now_s < run.started_s:
            return replace(run.report, exit_codes=())
        return replace(
            run.report, state=RunState.RUNNING, started_at_ms=int(run.started_s * 1000), exit_codes=()
        )

    def _heed_lease(self, run: _Run, now_s: float) -> None:
        after_s = run.order.site_stops_after_s
        told_s = max(run.begun_s, self._contact_s) + after_s
        if after_s > 0 and not run.wished and told_s <= now_s and told_s < run.ends_s:
            run.ends_s = self._obeyed_s(run, told_s, run.order.grace_s)
            run.reason, run.wished = EndReason.SITE_LOST, True

    def renew_leases(self, contact_s: float) -> None:
        for run in self._runs.values():
            self._heed_lease(run, self._clock())
        self._contact_s = max(self._contact_s, contact_s)

    def logs(self, run_id: str, worker: int, offset: int, limit: int) -> tuple[int, bytes]:
        run = self._runs.get(run_id)
        if run is None or self._clock() < run.started_s or worker >= run.order.workers:
            return offset, b""
        return offset, run.script.output[offset : offset + limit]

    def release(self, run_id: str) -> None:
        run = self._runs.get(run_id)
        if run is not None:
            assert self._look(run).state.ended, f"{run_id} lives: stop it first"
            del self._runs[run_id]
