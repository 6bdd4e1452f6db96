"""The local engine keeps the engines' contract, with real processes in real time."""

import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maillage.engines.local.engine import LocalEngine
from maillage.engines.port import RunOrder, RunReport
from maillage.engines.simulated import Script
from maillage.workloads.lifecycle import EndReason, RunState
from tests.contract.engine_suite import POOLS, EngineContract, plain_order


class LocalStage:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.engine = LocalEngine(root, POOLS)

    def order(self, run_id: str, script: Script, **fields: Any) -> RunOrder:
        lines = [] if script.heeds_stop else ["trap '' TERM"]
        lines.append(f"printf %s {shlex.quote(script.output.decode())}")
        # Not one long sleep: bash that ignores a signal goes on when its child is ended by it.
        lines.append(f"until [ $SECONDS -ge {int(script.run_s)} ]; do sleep 0.1; done")
        codes = " ".join(map(str, script.exit_codes or (0,) * fields.get("workers", 1)))
        lines.append(f"codes=({codes}); exit ${{codes[$RANK]}}")
        return replace(plain_order(run_id, **fields), script="\n".join(lines))

    def directory(self, run_id: str) -> Path:
        return self.root / run_id

    def wait(self, run_id: str, *states: RunState) -> RunReport:
        for _ in range(1000):
            for report in self.engine.observe():
                if report.run_id == run_id and report.state in states:
                    return report
            time.sleep(0.02)
        raise AssertionError(f"{run_id} never came to {states}: {self.engine.observe()}")

    def reopen(self) -> None:
        self.engine.close()
        self.engine = LocalEngine(self.root, POOLS)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[LocalStage]:
    stage = LocalStage(tmp_path / "runs")
    yield stage
    for report in stage.engine.observe():
        stage.engine.stop(report.run_id, EndReason.CANCELLED, grace_s=0.0)
    for report in stage.engine.observe():
        stage.wait(report.run_id, RunState.EXITED, RunState.EXPIRED, RunState.RETURNED)
    stage.engine.close()


class TestLocalEngine(EngineContract):
    pass
