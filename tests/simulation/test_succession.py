"""A new core takes over live work: the network file changed, or the scheduler is another version."""

from __future__ import annotations

from pathlib import Path

import pytest

from maillage.control import log
from maillage.control.replay import replay_file
from maillage.engines.port import RunReport
from maillage.errors import Conflict
from maillage.scheduling.messages import Start
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.lifecycle import EndReason, RunState
from tests.simulation.plane_rig import network, spec
from tests.simulation.test_loop_sites import Story


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path, sites=("paris",))


def replayed_same(story: Story) -> bool:
    story.rig.store.close()
    same = replay_file(story.rig.path).difference is None
    story.rig.store = story.rig._open()
    return same


def test_live_work_runs_on_when_the_network_grows(story: Story) -> None:
    running, site = story.started(workers=6)
    waiting = story.rig.submit(spec("waits", workers=8))[0]["id"]
    after = story.rig.submit(spec("after", after=[running]))[0]["id"]
    story.rig.network = network(("paris",), nodes=3)
    story.rig.restart()
    job = story.job(running)
    assert (job["state"], job["attempts"]) == ("running", 1), "nothing was started again"
    pool = story.rig.plane.loop.core.pools()[0]
    assert (pool.units_free, pool.running) == (6, 1), "it holds what it held, of more"
    answer = story.sync(site, RunReport(f"{running}.1", RunState.RUNNING))
    assert f"{running}.1" in answer.desired
    assert answer.stop == ()
    story.end(site, f"{running}.1")
    assert story.job(running)["state"] == "succeeded"
    assert story.job(waiting)["attempts"] == 1, "what waited starts"
    story.end(site, f"{waiting}.1")
    assert story.job(after)["attempts"] == 1, "and so does what came after"
    assert replayed_same(story)


def test_attempts_and_retries_go_on_counting(story: Story) -> None:
    job_id, site = story.started(workers=8, retries=1)
    story.rig.submit(spec("next", workers=8))
    story.end(site, f"{job_id}.1", EndReason.FAILED)
    assert story.job(job_id)["attempts"] == 2, "the older one goes first again"
    story.rig.network = network(("paris",), nodes=3)
    story.rig.restart()
    story.sync(site, RunReport(f"{job_id}.2", RunState.RUNNING, started_at_ms=story.now))
    story.end(site, f"{job_id}.2", EndReason.FAILED)
    assert (story.job(job_id)["state"], story.job(job_id)["attempts"]) == ("failed", 2)
    assert replayed_same(story)


def test_a_network_that_cannot_hold_what_is_live_is_refused_and_says_which(story: Story) -> None:
    job_id, _ = story.started(workers=8)
    before = story.offset
    story.rig.network = network(("paris",), nodes=1)
    with pytest.raises(Conflict, match=job_id):
        story.rig.restart()
    story.rig.network = network(("lyon",))
    with pytest.raises(Conflict, match="which this network lacks"):
        story.rig.restart()
    assert story.offset == before, "nothing was written"
    story.rig.network = network(("paris",))
    story.rig.restart()
    assert story.job(job_id)["state"] == "running"


def test_another_version_of_the_scheduler_takes_over(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, site = story.started(workers=2)
    monkeypatch.setattr(Scheduler, "_why_here", lambda self, job_id, site, among: "in other words")
    story.rig.restart()
    kinds = [entry.kind for entry in story.rig.store.entries(0)]
    assert kinds.count(log.NETWORK) == 2
    assert story.job(job_id)["state"] == "running"
    story.end(site, f"{job_id}.1")
    assert story.job(job_id)["state"] == "succeeded"
    next_id = story.rig.submit(spec())[0]["id"]
    decided = [entry.read()["commands"] for entry in story.rig.store.entries(0) if entry.kind == log.DECISION]
    last = [command for commands in decided for command in commands if command["kind"] == Start.kind][-1]
    assert (last["job_id"], last["reason"]) == (next_id, "in other words")
