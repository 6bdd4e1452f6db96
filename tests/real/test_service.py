"""The service over its real thread, clock and files: long polls, shells, logs, usage, subscriptions."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from maillage.control import tables
from maillage.control.clock import WallClock
from maillage.control.protocol import LogChunk, LogPush, SyncRequest, SyncResponse
from maillage.control.service import Service, Submission, Usage
from maillage.control.store import Store
from maillage.engines.port import RunReport
from maillage.errors import Conflict, Fault, Invalid, NotAllowed, NotFound, TooLarge, Unreachable, UserError
from maillage.feeds.recorded import signals
from maillage.scheduling.policy import DEFAULT
from maillage.workloads.lifecycle import EndReason, RunState
from tests.simulation.plane_rig import network, spec


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    store = Store.open(tmp_path / "maillage.db")
    the_network = network(("paris",))
    known = {site.id: signals("FR", 48.8, 2.3) for site in the_network.sites}
    made = Service(the_network, store, tmp_path, known, DEFAULT, WallClock())
    made.start()
    yield made
    made.stop()
    store.close()


class Agent:
    def __init__(self, service: Service, incarnation: str = "first") -> None:
        self.service = service
        self.incarnation = incarnation
        self.seq = 0
        self.version = -1
        self.known: list[str] = []

    async def sync(self, *reports: RunReport, wait_s: float = 0.0) -> SyncResponse:
        self.seq += 1
        request = SyncRequest(
            self.incarnation,
            self.seq,
            reports=reports,
            known=tuple(self.known),
            version_seen=self.version,
            wait_s=wait_s,
        )
        answer = await self.service.sync("paris", request)
        self.version = answer.version
        self.known += [order.run_id for order in answer.orders]
        return answer


async def submit(service: Service, **fields: Any) -> dict[str, Any]:
    answers = await service.submit([Submission(spec(**fields))], org="org", project="default", user="ada")
    if isinstance(answers[0], UserError):
        raise answers[0]
    return answers[0]


async def running(service: Service, agent: Agent, **fields: Any) -> str:
    job_id = str((await submit(service, **fields))["id"])
    await agent.sync()
    await agent.sync(RunReport(f"{job_id}.1", RunState.RUNNING, started_at_ms=1))
    return job_id


async def test_a_held_call_wakes_when_there_is_work(service: Service) -> None:
    agent = Agent(service)
    await agent.sync()
    held = asyncio.create_task(agent.sync(wait_s=5.0))
    done, _ = await asyncio.wait({held}, timeout=0.3)
    assert not done, "nothing to say: the answer waits"
    job = await submit(service)
    answer = await asyncio.wait_for(held, 3)
    assert [order.job_id for order in answer.orders] == [job["id"]]


async def test_a_held_call_is_answered_when_the_server_stops(service: Service) -> None:
    agent = Agent(service)
    await agent.sync()
    held = asyncio.create_task(agent.sync(wait_s=60.0))
    await asyncio.sleep(0.1)
    assert not held.done()
    service.stop_holding()
    for call in (held, agent.sync(wait_s=60.0)):
        assert (await asyncio.wait_for(call, 3.0)).orders == ()


async def test_two_calls_at_once_get_an_order_once(service: Service) -> None:
    agent = Agent(service)
    await agent.sync()
    held = asyncio.create_task(agent.sync(wait_s=1.0))
    await asyncio.sleep(0.05)
    speaking = asyncio.create_task(agent.sync())
    await submit(service)
    answers = await asyncio.gather(held, speaking)
    assert sum(len(answer.orders) for answer in answers) == 1


async def test_a_newer_agent_takes_the_place(service: Service) -> None:
    old, new = Agent(service), Agent(service, "second")
    await old.sync()
    await new.sync()
    with pytest.raises(Conflict, match="newer agent"):
        await old.sync()
    await new.sync()


async def test_another_protocol_is_refused(service: Service) -> None:
    with pytest.raises(Conflict, match="same version"):
        await service.sync("paris", SyncRequest("x", 1, protocol=99))
    with pytest.raises(NotFound, match="paris"):
        await service.sync("atlantis", SyncRequest("x", 1))


async def test_a_job_from_submission_to_receipt(service: Service) -> None:
    agent = Agent(service)
    await agent.sync()
    quoted = await service.quote(spec(), org="org", project="default")
    assert (quoted["site"], quoted["wait_s"]) == ("paris", 0)
    assert quoted["energy_kwh"] > 0
    job_id = await running(service, agent)
    assert (await service.why(job_id))["reason"] == "running"
    ended = RunReport(f"{job_id}.1", RunState.EXITED, EndReason.SUCCEEDED, exit_codes=(0,), metered_cpu_s=0.5)
    answer = await agent.sync(ended)
    assert answer.released == (f"{job_id}.1",)
    job = await service.job("work", {"default"})
    assert (job["state"], job["runs"][0]["exit_codes"]) == ("succeeded", [0])
    assert job["receipt"]["cpu_s"] == 0.5 and job["receipt"]["energy_kwh"] is not None
    kinds = [event["kind"] for event in await service.job_events(job_id)]
    assert kinds[0] == "job_submitted" and kinds[-1] == "ended" and "decision" in kinds
    with pytest.raises(NotFound):
        await service.job(job_id, {"elsewhere"})
    assert (await service.why(job_id))["reason"] == "succeeded"


async def test_a_waiting_job_says_why(service: Service) -> None:
    await Agent(service).sync()
    for _ in range(2):
        await submit(service, workers=2, resources={"per_worker": 4})
    waiting = (await service.jobs(None, state="pending"))["items"]
    assert len(waiting) == 1 and waiting[0]["why"]
    told = await service.why(waiting[0]["id"])
    assert told["detail"] and told["expected_start"]
    with pytest.raises(Invalid, match="can never run"):
        await submit(service, workers=3, resources={"per_worker": 4})


async def test_submissions_are_bounded(service: Service) -> None:
    with pytest.raises(TooLarge):
        await service.submit([Submission(spec(array=10_000))] * 3, org="org", project="default", user="ada")


async def test_logs_of_the_sites_own_runs_only(service: Service) -> None:
    agent = Agent(service)
    await agent.sync()
    job_id = await running(service, agent)
    data = base64.b64encode(b"hello\n").decode()
    await service.push_logs("paris", LogPush((LogChunk(f"{job_id}.1", 0, 0, data),)))
    assert await service.read_logs(job_id, 0, 0, 0, 100) == (b"hello\n", False)
    await service.push_logs("paris", LogPush((LogChunk(f"{job_id}.1", 0, 6, "", final=True),)))
    assert await service.read_logs(job_id, 1, 0, 0, 100) == (b"hello\n", True)
    with pytest.raises(NotFound):
        await service.push_logs("paris", LogPush((LogChunk("j1hf7yat000000.1", 0, 0, data),)))
    with pytest.raises(NotAllowed):
        await service.push_logs("lyon", LogPush((LogChunk(f"{job_id}.1", 0, 0, data),)))


async def test_a_shell_meets_in_the_middle(service: Service) -> None:
    agent = Agent(service)
    await agent.sync()
    job_id = await running(service, agent)
    with pytest.raises(NotFound, match="worker"):
        await service.open_shell(job_id, 1)
    shell_id = await service.open_shell(job_id, 0)
    order = (await agent.sync(wait_s=1.0)).shells[0]
    assert (order.shell_id, order.run_id) == (shell_id, f"{job_id}.1")
    waiting = asyncio.create_task(service.shells.person(shell_id))
    with pytest.raises(NotFound):
        await service.shells.site(shell_id, "lyon")
    site = await service.shells.site(shell_id, "paris")
    person = await waiting
    await person.send(b"ls\n")
    assert await site.receive() == b"ls\n"
    await site.send('{"exit": 0}')
    site.close()
    assert await person.receive() == '{"exit": 0}'
    assert await person.receive() is None
    assert (await agent.sync()).shells == ()
    service.shells.close(shell_id)


async def test_no_shell_where_nothing_runs(service: Service) -> None:
    job = await submit(service)
    with pytest.raises(Conflict, match="pending"):
        await service.open_shell(job["id"], 0)


async def test_subscribers_hear_of_changes(service: Service) -> None:
    changes = service.subscribe()
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    await submit(service)
    offset = await asyncio.wait_for(waiting, 3)
    assert offset == (await service.status())["log_offset"]
    entries = await service.log_entries(0, 10_000)
    assert [entry["offset"] for entry in entries] == list(range(1, offset + 1))


async def test_metered_requests_are_kept(service: Service, tmp_path: Path) -> None:
    for number in (1, 2, 2):
        service.record_usage(Usage(f"r{number}", "chat", "org", "default", "ada", 3, 4))
    await submit(service)
    with service._plane.store.reader.connect() as connection:
        query = sa.select(sa.func.count(), sa.func.sum(tables.usage.c.completion_tokens))
        assert connection.execute(query).one() == (2, 8)


async def test_operators_drain_limit_and_resume(service: Service) -> None:
    await Agent(service).sync()
    assert (await service.drain("paris", reason="works", user="op"))["state"] == "drained"
    job = await submit(service)
    assert (await service.job(job["id"], None))["state"] == "pending"
    assert (await service.resume("paris", user="op"))["state"] == "open"
    assert (await service.job(job["id"], None))["state"] == "scheduled"
    assert (await service.limit("paris", kw=500.0, user="op"))["limit_kw"] == 500.0
    assert (await service.limit("paris", kw=None, user="op"))["limit_kw"] == 1000.0
    with pytest.raises(Invalid):
        await service.limit("paris", kw=5000.0, user="op")


async def test_a_fault_of_ours_ends_it_and_says_so(service: Service) -> None:
    told: list[BaseException] = []
    service._on_failure = told.append

    def faulty(round_: Any) -> None:
        raise AssertionError

    with pytest.raises(Unreachable):
        await service.do(faulty)
    with pytest.raises(Unreachable):
        await submit(service)
    assert isinstance(service.failure, AssertionError) and told


async def test_a_fault_at_one_input_is_that_inputs_alone(service: Service) -> None:
    await Agent(service).sync()

    def faulty(round_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(Fault):
        await service.do(faulty)
    with pytest.raises(Fault):
        await service.submit([Submission(spec(env={"A": "\ud800"}))], org="o", project="p", user="ada")
    job = await submit(service)
    assert (await service.job(job["id"], None))["state"] == "scheduled"
    assert service.failure is None
