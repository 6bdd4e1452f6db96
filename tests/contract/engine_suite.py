"""What every engine promises, said once. An engine joins by a `Stage` that speaks for it."""

from pathlib import Path
from typing import Any, Protocol

import pytest

from maillage.engines.port import Engine, PoolCapacity, RunOrder, RunReport
from maillage.engines.simulated import Script
from maillage.workloads.lifecycle import ENDINGS, EndReason, RunState

POOLS = (PoolCapacity("cpu", nodes_up=2, cpus_per_node=4, memory_mib_per_node=1024),)
LONG_S = 600.0


class Stage(Protocol):
    engine: Engine

    def order(self, run_id: str, script: Script, **fields: Any) -> RunOrder:
        """An order whose run does what the script says."""

    def directory(self, run_id: str) -> Path: ...

    def wait(self, run_id: str, *states: RunState) -> RunReport:
        """Let time pass until the run is in one of the states."""

    def reopen(self) -> None:
        """A new engine in place of the old one, as after a restart of the agent."""


def plain_order(run_id: str, **fields: Any) -> RunOrder:
    job_id, _, attempt = run_id.partition(".")
    workers = fields.pop("workers", 1)
    base = {"name": "t", "org": "o", "project": "p", "pool": "cpu", "grace_s": 2.0}
    return RunOrder(
        run_id=run_id,
        job_id=job_id,
        attempt=int(attempt),
        workers=workers,
        placement=((0, workers),),
        **{**base, **fields},
    )


def start(stage: Stage, run_id: str, script: Script, **fields: Any) -> RunOrder:
    order = stage.order(run_id, script, **fields)
    stage.engine.start(order, stage.directory(run_id))
    return order


def report(stage: Stage, run_id: str) -> RunReport | None:
    found = [entry for entry in stage.engine.observe() if entry.run_id == run_id]
    assert len(found) <= 1
    return found[0] if found else None


ENDED = (RunState.EXITED, RunState.RETURNED, RunState.EXPIRED)


class EngineContract:
    """Subclass it with a fixture `stage`."""

    def test_capacity_is_what_was_handed_in(self, stage: Stage) -> None:
        assert stage.engine.capacity() == POOLS

    def test_a_run_succeeds_and_is_observed_until_it_is_released(self, stage: Stage) -> None:
        start(stage, "ja.1", Script(run_s=0.1, output=b"hello\n"))
        ended = stage.wait("ja.1", *ENDED)
        assert (ended.state, ended.reason, ended.exit_codes) == (RunState.EXITED, EndReason.SUCCEEDED, (0,))
        assert 0 < ended.started_at_ms <= ended.ended_at_ms
        assert stage.engine.logs("ja.1", 0, 0, 100) == (0, b"hello\n")
        assert stage.engine.logs("ja.1", 0, 2, 3) == (2, b"llo")
        assert report(stage, "ja.1") == ended
        stage.engine.release("ja.1")
        stage.engine.release("ja.1")
        assert report(stage, "ja.1") is None

    def test_a_run_that_runs_says_so(self, stage: Stage) -> None:
        start(stage, "ja.1", Script(run_s=LONG_S))
        running = stage.wait("ja.1", RunState.RUNNING)
        assert running.reason is None and running.started_at_ms > 0 and running.ended_at_ms == 0

    def test_one_workers_failure_ends_the_gang(self, stage: Stage) -> None:
        start(stage, "ja.1", Script(run_s=0.1, exit_codes=(0, 3)), workers=2)
        ended = stage.wait("ja.1", *ENDED)
        assert ended.reason is EndReason.FAILED and ended.exit_codes[1] == 3 and ended.message

    def test_starting_twice_is_starting_once(self, stage: Stage) -> None:
        order = start(stage, "ja.1", Script(run_s=0.1, output=b"once\n"))
        stage.engine.start(order, stage.directory("ja.1"))
        stage.wait("ja.1", *ENDED)
        stage.engine.start(order, stage.directory("ja.1"))
        assert stage.wait("ja.1", *ENDED).reason is EndReason.SUCCEEDED
        assert stage.engine.logs("ja.1", 0, 0, 100) == (0, b"once\n")

    def test_another_attempt_is_another_run(self, stage: Stage) -> None:
        start(stage, "ja.1", Script(exit_codes=(1,)))
        start(stage, "ja.2", Script())
        assert stage.wait("ja.1", *ENDED).reason is EndReason.FAILED
        assert stage.wait("ja.2", *ENDED).reason is EndReason.SUCCEEDED

    @pytest.mark.parametrize("reason", [EndReason.CANCELLED, EndReason.PREEMPTED, EndReason.SITE_LOST])
    def test_a_stop_ends_it_for_the_reason_given(self, stage: Stage, reason: EndReason) -> None:
        start(stage, "ja.1", Script(run_s=LONG_S))
        start(stage, "jb.1", Script(run_s=LONG_S))
        stage.wait("ja.1", RunState.RUNNING)
        stage.engine.stop("ja.1", reason, grace_s=2.0)
        stage.engine.stop("ja.1", reason, grace_s=2.0)
        ended = stage.wait("ja.1", *ENDED)
        assert (ended.state, ended.reason) == (ENDINGS[reason].run, reason)
        assert stage.wait("jb.1", RunState.RUNNING).reason is None  # its neighbour is as it was

    def test_a_run_that_ignores_the_stop_ends_with_its_grace(self, stage: Stage) -> None:
        start(stage, "ja.1", Script(run_s=LONG_S, heeds_stop=False))
        stage.wait("ja.1", RunState.RUNNING)
        stage.engine.stop("ja.1", EndReason.CANCELLED, grace_s=0.3)
        assert stage.wait("ja.1", *ENDED).reason is EndReason.CANCELLED

    def test_a_stop_at_once_after_the_start_is_not_lost(self, stage: Stage) -> None:
        start(stage, "ja.1", Script(run_s=LONG_S))
        stage.engine.stop("ja.1", EndReason.CANCELLED, grace_s=0.3)
        assert stage.wait("ja.1", *ENDED).reason is EndReason.CANCELLED

    def test_a_stop_after_the_end_changes_nothing(self, stage: Stage) -> None:
        start(stage, "ja.1", Script())
        ended = stage.wait("ja.1", *ENDED)
        stage.engine.stop("ja.1", EndReason.CANCELLED, grace_s=0.1)
        stage.engine.stop("jx.1", EndReason.CANCELLED, grace_s=0.1)  # nor for a run that is not here
        assert report(stage, "ja.1") == ended

    def test_the_time_limit_ends_it(self, stage: Stage) -> None:
        start(stage, "ja.1", Script(run_s=LONG_S), time_limit_s=1)
        ended = stage.wait("ja.1", *ENDED)
        assert ended.reason is EndReason.TIMED_OUT and ended.message

    def test_cut_off_for_too_long_the_site_stops_it_by_itself(self, stage: Stage) -> None:
        start(stage, "ja.1", Script(run_s=LONG_S), site_stops_after_s=0.5)
        start(stage, "jb.1", Script(run_s=LONG_S), site_stops_after_s=0)
        ended = stage.wait("ja.1", *ENDED)
        assert (ended.state, ended.reason) == (RunState.EXPIRED, EndReason.SITE_LOST)
        assert stage.wait("jb.1", RunState.RUNNING).reason is None

    @pytest.mark.parametrize("command", [(), (":",)])
    def test_the_no_op_succeeds_at_once(self, stage: Stage, command: tuple[str, ...]) -> None:
        order = plain_order("ja.1", workers=2, command=command)
        stage.engine.start(order, stage.directory("ja.1"))
        ended = stage.wait("ja.1", *ENDED)
        assert ended.reason is EndReason.SUCCEEDED and ended.exit_codes == (0, 0)

    def test_logs_of_what_is_not_there_are_empty(self, stage: Stage) -> None:
        assert stage.engine.logs("jx.1", 0, 0, 10)[1] == b""
        start(stage, "ja.1", Script(output=b"x"))
        stage.wait("ja.1", *ENDED)
        assert stage.engine.logs("ja.1", 7, 0, 10)[1] == b""
        assert stage.engine.logs("ja.1", 0, 50, 10)[1] == b""

    def test_a_restart_of_the_agent_finds_all_again(self, stage: Stage) -> None:
        order = start(stage, "ja.1", Script(run_s=LONG_S))
        start(stage, "jb.1", Script(exit_codes=(4,)))
        stage.wait("ja.1", RunState.RUNNING)
        ended = stage.wait("jb.1", *ENDED)
        stage.reopen()
        assert report(stage, "jb.1") == ended
        running = stage.wait("ja.1", RunState.RUNNING)
        stage.engine.start(order, stage.directory("ja.1"))
        assert stage.wait("ja.1", RunState.RUNNING).started_at_ms == running.started_at_ms
        stage.engine.stop("ja.1", EndReason.CANCELLED, grace_s=1.0)
        assert stage.wait("ja.1", *ENDED).reason is EndReason.CANCELLED
