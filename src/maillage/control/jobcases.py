"""The use cases of jobs: see `Service`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from maillage.control import intake, log, orders, receipts, views
from maillage.control.asking import Asking
from maillage.control.intake import Asked, Submit
from maillage.control.log import Entry
from maillage.control.round import Round
from maillage.errors import Conflict, Invalid, TooLarge, UserError
from maillage.scheduling import explain, feasibility
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.job import JobSpec
from maillage.workloads.lifecycle import JobState, RunState

Json = dict[str, Any]
MOST_JOBS = 20_000  # of one submission, arrays counted by their elements
_MOST_EVENTS = 1_000
_MOST_WHYS = 100  # of one page
_PROBE = "j0000000000000"


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that someone asks for. The same key in the same project is the same job."""

    spec: JobSpec
    idempotency_key: str | None = None


class JobCases(Asking):
    async def submit(
        self, items: Sequence[Submission], *, org: str, project: str, user: str
    ) -> list[Json | UserError]:
        """Submit jobs; one answer per item, in order: the Job (with `array` ids for an array) or why not.

        Durable when it returns. Same key and same spec: the same job again. Same key, other spec:
        Conflict naming that job. A gang that can never fit: Invalid saying what would fit.
        `after` and `inputs` name job ids, or jobs earlier in `items` by name.
        Raises Unreachable when nothing can be written now (disk full).
        """
        count = sum(item.spec.array or 1 for item in items)
        if count > MOST_JOBS:
            raise TooLarge(f"{count} jobs at once; submit at most {MOST_JOBS}, array elements counted")
        asked: list[Asked] = []
        refused: dict[int, UserError] = {}
        for index, item in enumerate(items):
            try:
                feasibility.check(self._plane.network, orders.submitted(item.spec, _PROBE, 0, org))
                asked.append(Asked(item.spec, item.spec.body(), item.idempotency_key or ""))
            except UserError as error:
                refused[index] = error
        answers = iter(await self.do(Submit(self._plane.ids, asked, org, project, user)) if asked else ())
        return [refused[index] if index in refused else next(answers) for index in range(len(items))]

    async def quote(self, spec: JobSpec, *, org: str, project: str) -> Json:
        """Where and when it would start, and for how much; nothing is kept.

        {site, pool, start_s, wait_s, credits_micros, energy_kwh, carbon_g, reason, ...}
        """
        now_ms = self._plane.clock.now_ms()
        asked = orders.submitted(spec, _PROBE, now_ms // 1000, org)
        feasibility.check(self._plane.network, asked)
        core, now_s = await self.do(_copy_core)
        start_s, site, pool_id = await asyncio.to_thread(core.ahead, asked, now_s)
        shown: Json = {"site": site or None, "pool": pool_id or None, "start_s": start_s}
        if start_s is None:
            reason = "no site that could run it takes work now, or what is ahead of it has no end"
            return shown | {"wait_s": None, "reason": reason}
        shown |= {"wait_s": max(0, start_s - now_ms // 1000), "reason": _quote_reason(start_s, now_ms)}
        pool = self._plane.network.pool(site, pool_id)
        units = feasibility.units_per_worker(pool, asked) * spec.workers
        from_ms = max(now_ms, start_s * 1000)
        to_ms = from_ms + spec.estimate_s * 1000
        cost = receipts.quote(pool, units, from_ms, to_ms, self._plane.signals.hours)
        return shown | cost | {"credits": cost["credits_micros"] / 1e6}

    async def jobs(
        self,
        projects: set[str] | None,
        state: str | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Json:
        """{items: [Job without spec, runs and receipt], next: cursor | None}, newest first.

        `state` may be a state, or `live` for all that has not ended. `limit` 1-1000.
        """
        if not 1 <= limit <= 1000:
            raise Invalid(f"limit is {limit}; take 1 to 1000")
        page = await asyncio.to_thread(
            views.job_page, self._plane.store, projects, state, name, limit, cursor
        )
        waiting = [item for item in page["items"] if item["state"] == JobState.PENDING]
        if waiting:
            await self._tell_why(waiting[:_MOST_WHYS])
        return page

    async def job(self, ref: str, projects: set[str] | None) -> Json:
        """The Job with spec, runs, receipt, outputs. `ref`: an id, or a name that only one job has
        (among live jobs first, then the newest). Raises NotFound, or Conflict listing the ids."""

        def read() -> Json:
            return views.job_from_store(store, views.job_id_of(store, ref, projects))

        store = self._plane.store
        found = await asyncio.to_thread(read)
        if found["state"] == JobState.PENDING:
            await self._tell_why([found])
        return found

    async def _tell_why(self, waiting: list[Json]) -> None:
        """Say in one line why these jobs wait. It is worked out beside the loop, on a copy of the core."""

        def work_out() -> None:
            for item in waiting:
                found = explain.why(core, item["id"], now_s, forecast=False)
                item["why"] = None if found.reason == "unknown" else found.detail

        core, now_s = await self.do(_copy_core)
        await asyncio.to_thread(work_out)

    async def why(self, job_id: str) -> Json:
        """{reason, detail, mend, expected_start}; for a job that does not wait, what it does instead.
        For the first of an array it is about an element that waits, if any does."""
        job = await self.job(job_id, None)
        if job.get("array"):
            job_id = await asyncio.to_thread(views.element_that_waits, self._plane.store, job_id)
            job = await self.job(job_id, None)
        if job["state"] == JobState.PENDING:
            core, now_s = await self.do(_copy_core)
            found = await asyncio.to_thread(explain.why, core, job_id, now_s)
            start = views.instant((found.expected_start_s or 0) * 1000)
            return {
                "reason": found.reason,
                "detail": found.detail,
                "mend": found.mend,
                "expected_start": start,
            }
        return _instead(job)

    async def job_events(self, job_id: str) -> list[Json]:
        """The job's own log: [{offset, at, kind, body}]; of a decision, what it says of this job."""
        job = await self.job(job_id, None)
        return await asyncio.to_thread(self._events, job)

    def _events(self, job: Json) -> list[Json]:
        store = self._plane.store
        entries = {entry.offset: entry for entry in store.entries_of_job(job["id"], _MOST_EVENTS)}
        more = store.entries_at(views.decision_offsets(store, job["id"]))
        entries |= {entry.offset: entry for entry in more}
        return [_event_json(entries[offset], job["id"]) for offset in sorted(entries)]

    async def cancel(self, job_id: str, user: str) -> Json:
        """Ask for the end of a job (all live elements, for the first of an array); returns the Job.
        Ended already, and not by being cancelled: Conflict."""
        await self.do(partial(intake.cancel, wanted=job_id, user=user))
        return await self.job(job_id, None)

    async def requeue(self, job_id: str, user: str) -> Json:
        """Stop the live attempt and queue the job again; not live: Conflict."""
        await self.do(partial(intake.requeue, wanted=job_id, user=user))
        return await self.job(job_id, None)


def _quote_reason(start_s: int, now_ms: int) -> str:
    if start_s <= now_ms // 1000:
        return "there is room now"
    return "when the jobs ahead of it have ended by their time limits"


def _copy_core(round_: Round) -> tuple[Scheduler, int]:
    return round_.core.copy(), round_.now_s


def _instead(job: Json) -> Json:
    """What a job does that does not wait."""
    mend = ""
    if JobState(job["state"]).ended:
        detail = f"it ended: {job['reason']}. {job['message']}".strip()
    else:
        run = job["runs"][-1]
        detail = f"attempt {run['attempt']} at {run['site']}: {run['state']}; {run['why_here']}"
        if run["state"] == RunState.UNREACHABLE:
            mend = f"site {run['site']} is not seen; `on_disconnect` says how long its work is kept for it"
    return {"reason": job["state"], "detail": detail, "mend": mend, "expected_start": None}


def _event_json(entry: Entry, job_id: str) -> Json:
    body = orjson.loads(entry.body)
    if entry.kind == log.DECISION:
        commands = [command for command in body["commands"] if command["job_id"] == job_id]
        body = {"now_s": body["now_s"], "commands": commands}
    return {"offset": entry.offset, "at": views.instant(entry.at_ms), "kind": entry.kind, "body": body}


def refuse_unless_running(state: JobState, job_id: str) -> None:
    """Raises Conflict for a job that does not run."""
    if state is not JobState.RUNNING:
        raise Conflict(f"job {job_id} is {state.value}: a shell needs a running one")
