"""What sites and people meet, one story at a time, on a simulated clock."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from maillage.control import log, views
from maillage.control.clock import WallClock
from maillage.control.intake import Asked, Submit
from maillage.control.loop import Pending
from maillage.control.protocol import SyncRequest
from maillage.control.reports import RETURNED_AT_MOST
from maillage.control.round import Round
from maillage.engines.port import PoolCapacity, RunReport
from maillage.errors import Conflict, Fault, Invalid, NotFound
from maillage.workloads.lifecycle import EndReason, RunState
from tests.simulation.plane_rig import Crash, Rig, SimulatedSite, World, network, spec


class Story:
    """A rig, and one hand-driven agent per site."""

    def __init__(self, path: Path, sites: tuple[str, ...] = ("paris", "lyon")) -> None:
        self.rig = Rig(path / "maillage.db", network(sites))
        self.seq = 0
        self.known: dict[str, list[str]] = {site: [] for site in sites}
        for site in sites:
            self.sync(site)

    def sync(self, site: str, *reports: RunReport, incarnation: str = "first", **fields: Any) -> Any:
        self.seq += 1
        given = {"known": tuple(self.known[site]), "capacity": (PoolCapacity("cpu", 2),)}
        given |= {"version_seen": self.rig.plane.desks[site].version}
        request = SyncRequest(incarnation, self.seq, reports=reports, **given | fields)
        answer = self.rig.sync(site, request)
        self.known[site] = [*self.known[site], *(order.run_id for order in answer.orders)]
        self.known[site] = [run_id for run_id in self.known[site] if run_id not in answer.released]
        return answer

    def job(self, job_id: str) -> dict[str, Any]:
        return views.job_from_store(self.rig.store, job_id)

    def started(self, **fields: Any) -> tuple[str, str]:
        """A job that runs: its id and its site."""
        job_id = self.rig.submit(spec(**fields))[0]["id"]
        site = self.job(job_id)["site"]
        self.sync(site)
        self.sync(site, RunReport(f"{job_id}.1", RunState.RUNNING, started_at_ms=self.now))
        assert self.job(job_id)["state"] == "running"
        return job_id, site

    def end(self, site: str, run_id: str, reason: EndReason = EndReason.SUCCEEDED, **fields: Any) -> Any:
        return self.sync(site, RunReport(run_id, RunState.EXITED, reason, ended_at_ms=self.now, **fields))

    def pass_s(self, duration_s: int, *seen: str) -> None:
        """Time goes by; only these sites are heard."""
        for _ in range(duration_s):
            self.rig.tick(1.0)
            for site in seen:
                self.sync(site)

    @property
    def now(self) -> int:
        return self.rig.clock.now_ms()

    @property
    def offset(self) -> int:
        return self.rig.store.last_offset()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def other(site: str) -> str:
    return {"paris": "lyon", "lyon": "paris"}[site]


# --- submitting -------------------------------------------------------------------------------------


def test_a_key_is_one_job_over_a_restart_too(story: Story) -> None:
    first = story.rig.submit(spec(), key="k")[0]
    assert story.rig.submit(spec(), key="k")[0]["id"] == first["id"]
    refused = story.rig.submit(spec(workers=2), key="k")[0]
    assert isinstance(refused, Conflict) and first["id"] in str(refused)
    story.rig.restart()
    assert story.rig.submit(spec(), key="k")[0]["id"] == first["id"]
    elsewhere = story.rig.submit(spec(project="p2"), key="k", project="p2")[0]
    assert elsewhere["id"] != first["id"]


def test_one_key_twice_in_one_submission_is_one_job(story: Story) -> None:
    first, again = story.rig.submit(spec(), spec(), key="k")
    assert first["id"] == again["id"]


def test_an_input_that_fails_half_way_leaves_nothing_and_the_others_stay(story: Story) -> None:
    def half(round_: Round) -> None:
        round_.note(log.JOB_CANCEL, {"job_id": kept["id"], "user": "ada", "message": "half"}, kept["id"])
        round_.note("unknown", {"text": "\ud800"})

    kept = story.rig.submit(spec())[0]
    last = story.rig.store.last_offset()
    answers: list[Any] = []
    submits = [
        Submit(story.rig.plane.ids, [Asked(one, one.body())], "org", "default", "ada")
        for one in (spec("before"), spec("after"))
    ]
    story.rig.plane.step([Pending(act, answers.append) for act in (submits[0], half, submits[1])])
    before, fault, after = answers
    assert isinstance(fault, Fault) and fault.http_status == 500
    assert [story.job(one[0]["id"])["name"] for one in (before, after)] == ["before", "after"]
    assert not story.rig.plane.loop.state.jobs[kept["id"]].cancel_asked
    kinds = [entry.kind for entry in story.rig.store.entries(last)]
    assert kinds.count(log.JOB_SUBMITTED) == 2 and log.JOB_CANCEL not in kinds
    state = story.rig.plane.loop.state
    story.rig.restart()
    assert story.rig.plane.loop.state.jobs == state.jobs


def test_died_after_the_commit_the_job_is_there(story: Story) -> None:
    story.rig.store.crash_after = True
    with pytest.raises(Crash):
        story.rig.submit(spec(), key="k")
    story.rig.restart()
    answer = story.rig.submit(spec(), key="k")[0]
    site = story.job(answer["id"])["site"]
    assert [order.job_id for order in story.sync(site).orders] == [answer["id"]], "its order is sent"


def test_died_before_the_commit_there_is_nothing(story: Story) -> None:
    before = story.offset
    story.rig.store.crash_before = True
    with pytest.raises(Crash):
        story.rig.submit(spec(), key="k")
    story.rig.restart()
    assert story.offset == before
    assert not story.rig.plane.loop.state.jobs


def test_an_array_is_one_job_per_element(story: Story) -> None:
    answer = story.rig.submit(spec(array=3))[0]
    jobs = [story.job(job_id) for job_id in answer["array"]]
    assert [job["array_index"] for job in jobs] == [0, 1, 2]
    assert {job["array_id"] for job in jobs} == {answer["id"]}
    assert jobs[0]["array"] == answer["array"]
    orders = [order for site in ("paris", "lyon") for order in story.sync(site).orders]
    assert sorted(order.array_index for order in orders) == [0, 1, 2]


# --- dependencies -----------------------------------------------------------------------------------


def test_an_array_is_cancelled_as_one(story: Story) -> None:
    first = story.rig.submit(spec(array=40))[0]["id"]
    story.sync("paris")
    story.end("paris", f"{first}.1")
    assert views.job_id_of(story.rig.store, "work", None) == first
    assert story.job(first)["array_states"]["succeeded"] == 1
    assert story.job(views.element_that_waits(story.rig.store, first))["state"] == "pending"
    story.rig.cancel(first)
    story.pass_s(1, "paris", "lyon")
    elements = [story.job(one) for one in story.job(first)["array"]]
    live = [one for one in elements[1:] if one["state"] != "cancelled"]
    assert len(elements) == 40 and all(one["runs"][-1]["state"] != "exited" for one in live)
    stopping = [run.stop for run in story.rig.plane.loop.state.runs.values()]
    assert len(stopping) == len(live) and all(stop is EndReason.CANCELLED for stop in stopping)
    before = story.offset
    story.rig.cancel(elements[-1]["id"])
    assert story.offset == before, "asking again changes nothing"


def test_what_comes_after_waits_and_gets_the_outputs(story: Story) -> None:
    wanted = (spec("make"), spec("use", after=["make"], inputs=[{"job": "make", "to": "data"}]))
    made, used = story.rig.submit(*wanted)
    assert used["spec"]["after"] == [made["id"]]
    assert story.job(used["id"])["state"] == "pending"
    site = story.job(made["id"])["site"]
    story.sync(site)
    answer = story.end(site, f"{made['id']}.1", output=f"sha256:{'a' * 64}")
    used_site = story.job(used["id"])["site"]
    order = (*answer.orders, *story.sync(used_site).orders)[0]
    assert order.inputs == ((f"sha256:{'a' * 64}", "data"),)
    late = story.rig.submit(spec("late", after=[made["id"]]))[0]
    assert story.job(late["id"])["state"] == "scheduled", "what has succeeded need not be waited for"


def test_the_outputs_of_an_array_come_each_to_its_own_folder(story: Story) -> None:
    inputs = [{"job": "make", "to": "data/"}]
    made, used = story.rig.submit(spec("make", array=3), spec("use", inputs=inputs))
    digests = [f"sha256:{letter * 64}" for letter in "abc"]
    where = [story.job(one)["site"] for one in made["array"]]
    for site in set(where):
        story.sync(site)
    orders = []
    for one, site, digest in zip(made["array"], where, digests, strict=True):
        assert story.job(used["id"])["state"] == "pending"
        orders += story.end(site, f"{one}.1", output=digest).orders
    orders += story.sync(story.job(used["id"])["site"]).orders
    assert orders[0].inputs == tuple((digest, f"data/{index}") for index, digest in enumerate(digests))
    second = story.rig.submit(spec("late", inputs=[{"job": made["array"][1], "to": "data"}]))[0]
    (order,) = story.sync(story.job(second["id"])["site"]).orders
    assert order.inputs == ((digests[1], "data"),), "an element named by its own id comes alone"


def test_an_element_that_left_nothing_is_named(story: Story) -> None:
    made, used = story.rig.submit(spec("make", array=2), spec("use", inputs=[{"job": "make"}]))
    for one, output in zip(made["array"], (f"sha256:{'a' * 64}", ""), strict=True):
        site = story.job(one)["site"]
        story.sync(site)
        story.end(site, f"{one}.1", output=output)
    story.rig.tick()
    assert story.job(used["id"])["reason"] == "input_missing"
    assert made["array"][1] in story.job(used["id"])["message"]


def test_what_comes_after_a_failure_is_over(story: Story) -> None:
    made, used = story.rig.submit(spec("make"), spec("use", after=["make"]))
    site = story.job(made["id"])["site"]
    story.sync(site)
    story.end(site, f"{made['id']}.1", EndReason.FAILED)
    assert (story.job(used["id"])["state"], story.job(used["id"])["reason"]) == (
        "cancelled",
        "dependency_failed",
    )
    refused = story.rig.submit(spec("late", after=[made["id"]]))[0]
    assert isinstance(refused, Conflict) and made["id"] in str(refused)


def test_inputs_that_were_never_made_end_the_job(story: Story) -> None:
    made, used = story.rig.submit(spec("make"), spec("use", inputs=[{"job": "make"}]))
    site = story.job(made["id"])["site"]
    story.sync(site)
    story.end(site, f"{made['id']}.1")
    story.rig.tick()
    assert story.job(used["id"])["reason"] == "input_missing"
    assert made["id"] in story.job(used["id"])["message"]


@pytest.mark.parametrize(("needs", "trouble"), [("nobody", Invalid), ("j1hf7yat000000", NotFound)])
def test_unknown_needs_are_refused(story: Story, needs: str, trouble: type[Exception]) -> None:
    before = story.offset
    assert isinstance(story.rig.submit(spec(after=[needs]))[0], trouble)
    assert story.offset == before


def test_jobs_of_another_project_cannot_be_named(story: Story) -> None:
    theirs = story.rig.submit(spec(), project="theirs")[0]
    assert isinstance(story.rig.submit(spec(after=[theirs["id"]]), project="mine")[0], NotFound)


# --- silent sites -----------------------------------------------------------------------------------


def test_a_silent_site_is_not_a_failure(story: Story) -> None:
    job_id, site = story.started()
    story.pass_s(15, other(site))
    job = story.job(job_id)
    assert (job["state"], job["runs"][0]["state"]) == ("running", "unreachable")
    assert story.rig.plane.loop.state.sites[site].state == "unreachable"
    story.sync(site, RunReport(f"{job_id}.1", RunState.RUNNING, started_at_ms=story.now - 9000))
    assert story.job(job_id)["runs"][0]["state"] == "running"
    story.end(site, f"{job_id}.1")
    job = story.job(job_id)
    assert (job["state"], job["attempts"]) == ("succeeded", 1)


def test_after_keep_for_it_runs_elsewhere_from_its_checkpoint(story: Story) -> None:
    job_id, site = story.started(on_disconnect={"keep_for": "30s", "site_stops_after": "15s"})
    newest = f"sha256:{'c' * 64}"
    report = RunReport(f"{job_id}.1", RunState.RUNNING, checkpoint=newest, checkpoint_at_ms=story.now)
    story.sync(site, report)
    story.pass_s(29, other(site))
    assert story.job(job_id)["attempts"] == 1, "not before keep_for"
    story.pass_s(2, other(site))
    job = story.job(job_id)
    assert (job["attempts"], job["site"]) == (2, other(site)), "keep_for counts from the last contact"
    assert (job["runs"][0]["state"], job["runs"][0]["reason"]) == ("expired", "site_lost")
    assert job["runs"][1]["restored_from"] == newest
    before = story.offset
    answer = story.sync(
        site, RunReport(f"{job_id}.1", RunState.RUNNING)
    )  # the old site is back, and still at it
    assert [(stop.run_id, stop.reason) for stop in answer.stop] == [(f"{job_id}.1", EndReason.SITE_LOST)]
    assert f"{job_id}.1" not in answer.desired
    answer = story.end(site, f"{job_id}.1")  # it even succeeded there: too late
    assert answer.released == (f"{job_id}.1",)
    assert {entry.kind for entry in story.rig.store.entries(before)} == {
        "site_seen",
        "site_opened",
        "decision",
    }
    run = RunReport(f"{job_id}.2", RunState.RUNNING, started_at_ms=story.now)
    story.sync(other(site), run)
    story.end(other(site), f"{job_id}.2")
    assert story.job(job_id)["state"] == "succeeded"
    assert [one["reason"] for one in story.job(job_id)["runs"]] == ["site_lost", "succeeded"]


def test_after_keep_for_it_ends_where_it_asked_to(story: Story) -> None:
    job_id, site = story.started(on_disconnect={"keep_for": "20s", "then": "stop"})
    story.pass_s(40, other(site))
    job = story.job(job_id)
    assert (job["state"], job["reason"], job["attempts"]) == ("cancelled", "site_lost", 1)
    assert "20 s" in job["message"]


def test_a_loop_that_was_away_blames_no_site(story: Story) -> None:
    job_id, site = story.started()
    story.pass_s(3, "paris", "lyon")
    story.rig.clock.advance(3600)  # the machine slept
    story.rig.tick(0)
    assert all(one.reachable for one in story.rig.plane.loop.state.sites.values())
    story.pass_s(15, other(site))
    assert story.job(job_id)["runs"][0]["state"] == "unreachable", "silence after that counts"


def test_a_wall_clock_that_jumps_loses_no_site(tmp_path: Path) -> None:
    now = {"wall_ms": 1_700_000_000_000, "mono_s": 0.0}
    story = Story(tmp_path)
    clock = WallClock(lambda: int(now["wall_ms"]), lambda: now["mono_s"])
    for holder in (story.rig, story.rig.plane, story.rig.plane.loop):
        holder.clock = clock  # type: ignore[assignment]
    job_id, site = story.started()
    for jump_ms in (3_600_000, -7_200_000, 86_400_000):
        now["wall_ms"] += jump_ms
        for _ in range(8):
            now["wall_ms"] += 1000
            now["mono_s"] += 1.0
            story.rig.plane.step([])
            story.sync(site)
            story.sync(other(site))
    assert all(one.reachable for one in story.rig.plane.loop.state.sites.values())
    story.end(site, f"{job_id}.1")
    entries = list(story.rig.store.entries())
    assert sum(entry.kind == "clock_jumped" for entry in entries) == 3
    assert [entry.at_ms for entry in entries] == sorted(entry.at_ms for entry in entries)


# --- agents -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_ms", [0, -3_600_000, 3_600_000])
@pytest.mark.parametrize("told_its_start", [True, False])
def test_a_sites_clock_may_be_wrong_and_the_runs_length_is_its_own(
    story: Story, ahead_ms: int, told_its_start: bool
) -> None:
    job = story.rig.submit(spec(sites=["paris"]))[0]
    run = story.sync("paris").orders[0].run_id
    began_ms = story.rig.clock.now_ms()
    start = {"state": RunState.RUNNING, "started_at_ms": began_ms + ahead_ms}
    if told_its_start:
        story.sync("paris", RunReport(run, **start))
    story.rig.tick(90.0)
    end = {"state": RunState.EXITED, "reason": EndReason.SUCCEEDED, "exit_codes": (0,)}
    story.sync("paris", RunReport(run, **start | end, ended_at_ms=began_ms + ahead_ms + 60_000))
    ended = story.job(job["id"])
    told = ended["runs"][0]
    lasted = datetime.fromisoformat(told["ended_at"]) - datetime.fromisoformat(told["started_at"])
    assert lasted.total_seconds() == 60.0
    assert views.instant(began_ms) <= told["started_at"] < told["ended_at"]
    assert told["ended_at"] <= views.instant(story.rig.clock.now_ms())
    assert ended["ended_at"] == told["ended_at"], "the job's end is its run's, not its report's arrival"


def test_late_and_doubled_calls_change_nothing(story: Story) -> None:
    job_id, site = story.started()
    before = story.offset
    report = RunReport(f"{job_id}.1", RunState.RUNNING, started_at_ms=story.now)
    story.sync(site, report)
    story.sync(site, RunReport(f"{job_id}.1", RunState.STARTING))
    late = SyncRequest("first", 1, reports=(RunReport(f"{job_id}.1", RunState.EXITED, EndReason.FAILED),))
    story.rig.sync(site, late)
    story.sync(other(site), RunReport(f"{job_id}.1", RunState.EXITED, EndReason.FAILED))  # not its run
    story.sync(site, RunReport(f"{job_id}.7", RunState.EXITED, EndReason.FAILED), known=(f"{job_id}.1",))
    assert story.offset == before
    assert story.job(job_id)["state"] == "running"


def test_a_new_agent_finds_everything_again(story: Story) -> None:
    job_id, site = story.started()
    answer = story.sync(site, incarnation="second", version_seen=-1)
    assert answer.desired == (f"{job_id}.1",) and answer.orders == ()
    story.sync(site, RunReport(f"{job_id}.1", RunState.EXITED, EndReason.SUCCEEDED), incarnation="second")
    job = story.job(job_id)
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
    with pytest.raises(AssertionError, match="former"):
        story.sync(site, incarnation="first")


@pytest.mark.parametrize(
    ("started", "state", "reason"), [(False, "returned", "returned"), (True, "exited", "node_lost")]
)
def test_a_run_that_a_site_has_lost_goes_back(story: Story, started: bool, state: str, reason: str) -> None:
    job_id = story.rig.submit(spec())[0]["id"]
    site = story.job(job_id)["site"]
    story.sync(site)
    story.sync(site)
    if started:
        story.sync(site, RunReport(f"{job_id}.1", RunState.RUNNING, started_at_ms=story.now))
    story.known[site] = []
    story.sync(site, incarnation="second", version_seen=-1)
    job = story.job(job_id)
    assert (job["runs"][0]["state"], job["runs"][0]["reason"]) == (state, reason)
    assert (job["state"], job["attempts"]) == ("scheduled", 2)


def test_given_back_again_and_again_it_fails(story: Story) -> None:
    job_id = story.rig.submit(spec())[0]["id"]
    for attempt in range(1, RETURNED_AT_MOST + 1):
        site = story.job(job_id)["site"]
        story.sync(site)
        run_id = f"{job_id}.{attempt}"
        story.sync(site, RunReport(run_id, RunState.RETURNED, EndReason.RETURNED, "no such image"))
    job = story.job(job_id)
    assert (job["state"], job["attempts"]) == ("failed", RETURNED_AT_MOST)
    assert "no such image" in job["message"]


def test_cancelled_before_the_site_had_it(story: Story) -> None:
    job_id = story.rig.submit(spec())[0]["id"]
    site = story.job(job_id)["site"]
    version = story.rig.plane.desks[site].version
    story.rig.cancel(job_id)
    story.sync(site, version_seen=version - 1)
    assert story.job(job_id)["state"] == "scheduled", "its order may be on the way still"
    answer = story.sync(site)
    assert answer.orders == () and answer.desired == ()
    assert (story.job(job_id)["state"], story.job(job_id)["attempts"]) == ("cancelled", 1)
    told = len(list(story.rig.store.entries()))
    story.rig.cancel(job_id)  # asked again, as by a client that lost the answer
    assert len(list(story.rig.store.entries())) == told
    with pytest.raises(Conflict, match="cancelled already"):
        story.rig.requeue(job_id)


def test_cancelled_and_requeued_while_it_runs(story: Story) -> None:
    job_id, site = story.started()
    story.rig.requeue(job_id)
    answer = story.sync(site)
    assert [(stop.run_id, stop.reason) for stop in answer.stop] == [(f"{job_id}.1", EndReason.REQUEUED)]
    story.sync(site, RunReport(f"{job_id}.1", RunState.EXITED, EndReason.FAILED, exit_codes=(143,)))
    job = story.job(job_id)
    assert (job["runs"][0]["reason"], job["attempts"]) == ("requeued", 2), "it was told to: no failure"
    story.rig.cancel(job_id)
    site = job["site"]
    story.sync(site, RunReport(f"{job_id}.2", RunState.RUNNING))
    answer = story.sync(site, RunReport(f"{job_id}.2", RunState.RUNNING))
    assert answer.stop[0].reason is EndReason.CANCELLED
    story.end(site, f"{job_id}.2", EndReason.CANCELLED)
    assert story.job(job_id)["state"] == "cancelled"


def test_a_success_that_races_a_cancel_is_a_success(story: Story) -> None:
    job_id, site = story.started()
    story.rig.cancel(job_id)
    story.end(site, f"{job_id}.1")
    assert story.job(job_id)["state"] == "succeeded"


# --- the store and the network ----------------------------------------------------------------------


def test_a_restart_stands_where_the_process_stood(story: Story) -> None:
    chance, world = random.Random(5), World()
    sites = [SimulatedSite(story.rig, name, world, chance) for name in ("paris", "lyon")]
    for number in range(60):
        if number % 3 == 0:
            story.rig.submit(spec(workers=1 + number % 2, retries=1))
        for site in sites:
            site.work()
            site.sync()
        story.rig.tick(1.0)
    before = story.rig.plane.loop.state
    jobs, runs, counts = dict(before.jobs), dict(before.runs), dict(before.counts)
    desks = {
        name: desk.answer(SyncRequest("x", 0), desk.came(), lambda *asked: {})
        for name, desk in story.rig.plane.desks.items()
    }
    story.rig.restart()
    after = story.rig.plane.loop.state
    assert (after.jobs, after.runs, after.counts) == (jobs, runs, counts)
    again = {
        name: desk.answer(SyncRequest("x", 0), desk.came(), lambda *asked: {})
        for name, desk in story.rig.plane.desks.items()
    }
    assert again == desks


def test_a_new_site_takes_work_after_a_restart(story: Story) -> None:
    story.rig.network = network(("paris", "lyon", "nantes"))
    story.rig.restart()
    story.known["nantes"] = []
    story.sync("nantes")
    fresh = story.rig.submit(spec(sites=["nantes"]))[0]
    assert story.job(fresh["id"])["site"] == "nantes"
    story.rig.restart()
    assert story.job(fresh["id"])["state"] == "scheduled"
