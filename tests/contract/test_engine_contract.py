"""The simulated engine keeps the engines' contract. (Engines that need real time: tests/real.)"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maillage.engines.port import RunOrder, RunReport
from maillage.engines.simulated import Script, SimulatedEngine
from maillage.workloads.lifecycle import RunState
from tests.contract.engine_suite import POOLS, EngineContract, plain_order


class SimulatedStage:
    def __init__(self, tmp_path: Path) -> None:
        self.now_s = 1_000_000.0
        self.scripts: dict[str, Script] = {}
        self.tmp_path = tmp_path
        self.engine = SimulatedEngine(
            lambda: self.now_s, POOLS, lambda o: self.scripts.get(o.run_id, Script())
        )

    def order(self, run_id: str, script: Script, **fields: Any) -> RunOrder:
        self.scripts[run_id] = script
        return replace(plain_order(run_id, **fields), command=("simulated",))

    def directory(self, run_id: str) -> Path:
        return self.tmp_path / run_id

    def wait(self, run_id: str, *states: RunState) -> RunReport:
        for _ in range(2000):
            for report in self.engine.observe():
                if report.run_id == run_id and report.state in states:
                    return report
            self.now_s += 0.05
        raise AssertionError(f"{run_id} never came to {states}")

    def reopen(self) -> None:
        """It lives in the process that asks it, so nothing is to be found again."""


@pytest.fixture
def stage(tmp_path: Path) -> SimulatedStage:
    return SimulatedStage(tmp_path)


class TestSimulatedEngine(EngineContract):
    pass


def test_a_later_stop_names_the_reason(stage: SimulatedStage) -> None:
    order = stage.order("ja.1", Script(run_s=600, heeds_stop=False))
    stage.engine.start(order, stage.directory("ja.1"))
    from maillage.workloads.lifecycle import EndReason

    stage.engine.stop("ja.1", EndReason.PREEMPTED, grace_s=50)
    stage.engine.stop("ja.1", EndReason.CANCELLED, grace_s=1)
    assert stage.wait("ja.1", RunState.EXITED).reason is EndReason.CANCELLED
