"""The loop under a seeded schedule of work and bad luck: lost and repeated messages, cut sites, crashes.

One seed again: `make sim SEED=41`.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from maillage.control import tables
from maillage.control.projections import job_row, run_row
from maillage.control.replay import replay
from maillage.control.state import State, read_fact
from maillage.errors import Conflict, UserError
from tests.simulation.plane_rig import Crash, Rig, SimulatedSite, World, spec

ROUGH_STEPS = 250
CALM_STEPS = 400


class People:
    """They submit with keys, and submit again when they got no answer; and they change their minds."""

    def __init__(self, rig: Rig, chance: random.Random) -> None:
        self.rig = rig
        self.chance = chance
        self.promised: dict[str, str] = {}  # key -> job id of an answer they got
        self.unsure: dict[str, Any] = {}  # key -> spec, submitted without an answer
        self.cancelled: set[str] = set()
        self._count = 0

    def act(self) -> None:
        what = self.chance.random()
        if self.unsure and what < 0.3:
            key = self.chance.choice(sorted(self.unsure))
            self._send(key, self.unsure[key])
        elif what < 0.7:
            self._count += 1
            self._send(f"key-{self._count}", self._spec())
        elif self.promised and what < 0.8:
            self._send_again()
        elif self.promised:
            self._change_mind(self.chance.choice(sorted(self.promised.values())))

    def _spec(self) -> Any:
        keep_for_s = self.chance.choice((25, 40))
        return spec(
            workers=self.chance.choice((1, 1, 1, 2, 4)),
            retries=self.chance.choice((0, 2)),
            **{"class": self.chance.choice(("reserved", "standard", "flexible"))},
            on_disconnect={
                "keep_for": keep_for_s,
                "then": self.chance.choice(("replace", "replace", "stop")),
            },
            array=self.chance.choice((None, None, None, 3)),
        )

    def _send(self, key: str, wanted: Any) -> None:
        self.unsure[key] = wanted
        answer = self.rig.submit(wanted, key=key)[0]
        assert not isinstance(answer, Exception), answer
        del self.unsure[key]
        before = self.promised.setdefault(key, answer["id"])
        assert before == answer["id"], f"{key} became two jobs"

    def _send_again(self) -> None:
        key = self.chance.choice(sorted(self.promised))
        answer = self.rig.submit(spec(name="other"), key=key)[0]
        assert isinstance(answer, Conflict) and self.promised[key] in str(answer)

    def _change_mind(self, job_id: str) -> None:
        try:
            if self.chance.random() < 0.5:
                self.rig.cancel(job_id)
                self.cancelled.add(job_id)
            else:
                self.rig.requeue(job_id)
        except UserError:
            pass  # it has ended, or waits


def rough_step(rig: Rig, sites: list[SimulatedSite], people: People, chance: random.Random) -> None:
    """One step in which something may go wrong."""
    luck = chance.random()
    if luck < 0.02:
        rig.store.crash_before = True
    elif luck < 0.04:
        rig.store.crash_after = True
    site = chance.choice(sites)
    if luck > 0.97:
        site.restart_agent()
    elif luck > 0.96:
        site.lose_power()
    if chance.random() < 0.03:
        site.cut = True
    elif chance.random() < 0.05:
        site.cut = False
    try:
        if chance.random() < 0.4:
            people.act()
        for one in sites:
            one.work()
            one.sync(lose_answer=chance.random() < 0.1)
        site.repeat_something_old()
        rig.tick(chance.choice((0.1, 1.0, 3.0)))
    except Crash:
        rig.restart()


def test_nothing_is_lost_and_nothing_runs_twice(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    rig = Rig(tmp_path / "maillage.db")
    world = World()
    sites = [SimulatedSite(rig, site.id, world, chance) for site in rig.network.sites]
    for site in sites:
        site.fail_ratio = 0.15
    people = People(rig, chance)
    for _ in range(ROUGH_STEPS):
        rough_step(rig, sites, people, chance)
    rig.store.crash_before = rig.store.crash_after = False
    for site in sites:
        site.cut = False
        site.fail_ratio = 0.0
    for _ in range(CALM_STEPS):
        for site in sites:
            site.work()
            site.sync()
        rig.tick(1.0)
        if not rig.plane.loop.state.jobs and not any(site.processes for site in sites):
            break
    check_everything(rig, world, people)
    print(f"seed {seed}: {len(world.starts)} starts, {len(people.promised)} promises")


def check_everything(rig: Rig, world: World, people: People) -> None:
    assert world.two_at_once == [], "a job had two live attempts"
    assert not rig.plane.loop.state.jobs, "something never ended (progress)"
    assert not world.live, "a process was forgotten"
    with rig.store.reader.connect() as connection:
        jobs = {row["job_id"]: row for row in connection.execute(sa.select(tables.jobs)).mappings()}
        runs = {row["run_id"]: row for row in connection.execute(sa.select(tables.runs)).mappings()}
    for job_id in people.promised.values():
        assert job_id in jobs, "a promised job is lost"
    for job_id, row in jobs.items():
        assert row["state"] in ("succeeded", "failed", "cancelled")
        mine = [run for run in runs.values() if run["job_id"] == job_id]
        assert sorted(run["attempt"] for run in mine) == list(range(1, row["attempts"] + 1))
        good = [run["run_id"] for run in mine if run["reason"] == "succeeded"]
        assert len(good) == (row["state"] == "succeeded"), "a job succeeds once"
        assert set(good) <= set(world.successes.get(job_id, [])), "a success that never was"
        if row["state"] == "cancelled":
            assert job_id in people.cancelled or row["reason"] in ("site_lost", "cancelled")
    assert set(world.starts) <= set(runs), "something ran that was never decided"
    again = {run_id for run_id in world.starts if world.starts.count(run_id) > 1}
    assert again <= world.forgotten, "a run was started twice at a site that could know"
    check_log(rig, jobs, runs)


def check_log(rig: Rig, jobs: dict[str, Any], runs: dict[str, Any]) -> None:
    """Replay gives the same commands; the projections are the fold of the log."""
    entries = list(rig.store.entries())
    assert [entry.offset for entry in entries] == list(range(1, len(entries) + 1))
    assert all(a.at_ms <= b.at_ms for a, b in itertools.pairwise(entries))
    result = replay(entries)
    assert result.difference is None and result.commands > 0, result
    state = State()
    all_jobs: dict[str, Any] = {}
    for entry in entries:
        state.apply(entry.offset, entry.at_ms, entry.kind, read_fact(entry.kind, entry.read()))
        all_jobs |= state.jobs
        state.take_changes()
    assert {job_id: job_row(job) for job_id, job in all_jobs.items()} == {
        job_id: {key: value for key, value in row.items() if key != "receipt"} for job_id, row in jobs.items()
    }
    folded = {run.run_id: run_row(run) for job in all_jobs.values() for run in job.runs}
    assert folded == {run_id: dict(row) for run_id, row in runs.items()}
