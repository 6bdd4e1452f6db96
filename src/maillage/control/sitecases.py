"""The use cases of sites: their agents' calls, their logs, and what operators ask. See `Service`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from maillage.control import log, views
from maillage.control.asking import Asking
from maillage.control.jobcases import refuse_unless_running
from maillage.control.plane import Plane
from maillage.control.protocol import (
    PROTOCOL_VERSION,
    LogPush,
    ShellOrder,
    SyncRequest,
    SyncResponse,
)
from maillage.control.reports import take_sync
from maillage.control.round import Round
from maillage.control.runlogs import RunLogs
from maillage.control.shells import Shells
from maillage.control.sites import Desk, SecretsOf
from maillage.errors import Conflict, Invalid, NotAllowed, NotFound
from maillage.scheduling.messages import LimitChanged, SiteClosed, SiteOpened
from maillage.workloads.lifecycle import JobState

Json = dict[str, Any]
_NOTHING_FOLLOWS_MS = 20_000  # after its end, a run whose site never sent the last of its log
_RUNS_KEPT = 4096


def _no_secrets(project: str, names: tuple[str, ...]) -> Mapping[str, str]:
    raise NotFound(f"project {project} has no secrets here: {', '.join(names)}")


class SiteCases(Asking):
    def __init__(self, plane: Plane, logs_dir: Path) -> None:
        super().__init__(plane)
        self.secrets_of: SecretsOf = _no_secrets
        self.shells = Shells(lambda site, shell_id: self._plane.desks[site].close_shell(shell_id))
        self._logs = RunLogs(logs_dir)
        self._holding = True
        self._site_of_run = lru_cache(_RUNS_KEPT)(partial(views.site_of_run, plane.store))

    # --- agents ----------------------------------------------------------------------------------

    async def sync(self, site: str, request: SyncRequest) -> SyncResponse:
        """The one call of a site's agent; held up to `wait_s` until its desired state grows.

        Raises Conflict for another protocol, and for an agent whose place another one has taken.
        """
        if request.protocol != PROTOCOL_VERSION:
            raise Conflict(
                f"the agent speaks sync protocol {request.protocol}, the control plane {PROTOCOL_VERSION}; "
                "install the same version on both"
            )
        desk = self._desk(site)
        if request.incarnation == desk.incarnation:
            self._plane.watch.seen_s[site] = self._plane.clock.mono_s()
        came = desk.came()
        if not desk.is_late(request):
            said = desk.says(request)
            if desk.is_news(said):
                await self.do(partial(take_sync, site_id=site, request=request))
                desk.heard(said)
        if request.incarnation != desk.incarnation:
            raise Conflict(f"a newer agent speaks for site {site}; this one must end (its runs go on)")
        self._plane.watch.seen_s[site] = self._plane.clock.mono_s()
        return await self._hold(desk, request, came)

    def stop_holding(self) -> None:
        """The server stops: calls that are held are answered now, and later ones at once."""
        self._holding = False
        for desk in self._plane.desks.values():
            desk.ring()

    async def _hold(self, desk: Desk, request: SyncRequest, came: int) -> SyncResponse:
        clock = self._plane.clock
        until_s = clock.mono_s() + min(request.wait_s, self._plane.watch.timeout_s / 2)
        while True:
            answer, broken = desk.answer(request, came, self.secrets_of)
            for run_id, message in broken.items():
                self._plane.fail_run(run_id, message)
            left_s = until_s - clock.mono_s()
            if not self._holding or left_s <= 0 or not desk.may_hold(request, answer, came):
                desk.answered(answer)
                return answer
            await desk.wait(left_s)

    async def push_logs(self, site: str, push: LogPush) -> None:
        """Keep output of the site's runs; the same chunk twice changes nothing."""
        await asyncio.to_thread(self._keep_logs, site, push)

    def _keep_logs(self, site: str, push: LogPush) -> None:
        for chunk in push.chunks:
            if self._site_of_run(chunk.run_id) != site:
                raise NotAllowed(f"run {chunk.run_id[:80]!r} is not one of site {site}")
            self._logs.push(chunk)

    async def read_logs(
        self, job_id: str, attempt: int, worker: int, offset: int, limit: int
    ) -> tuple[bytes, bool]:
        """Bytes from `offset`, and whether nothing will follow them. `attempt` 0: the newest.

        A negative `offset` counts from the end.
        """
        return await asyncio.to_thread(self._read_logs, job_id, attempt, worker, offset, limit)

    def _read_logs(
        self, job_id: str, attempt: int, worker: int, offset: int, limit: int
    ) -> tuple[bytes, bool]:
        end = None
        if attempt == 0:
            end = views.job_end(self._plane.store, job_id, 0)
            if end.attempts == 0:
                return b"", end.ended_ms > 0
            attempt = end.attempts
        data, final = self._logs.read(job_id, attempt, worker, offset, limit)
        if data or final:
            return data, final
        end = views.job_end(self._plane.store, job_id, attempt)
        long_over = end.run_ended_ms and self._plane.clock.now_ms() - end.run_ended_ms > _NOTHING_FOLLOWS_MS
        return data, bool(long_over or worker >= end.workers or (end.ended_ms and attempt > end.attempts))

    async def open_shell(self, job_id: str, worker: int) -> str:
        """Ask the job's site for a shell in its running attempt; returns the shell's id.

        The person's and the site's websockets meet in `shells.person(id)` and `shells.site(id, site)`.
        Conflict when the job does not run, NotFound when it has no such worker.
        """

        def find(round_: Round) -> tuple[str, str]:
            job = round_.state.jobs.get(job_id)
            refuse_unless_running(job.state if job else JobState.SUCCEEDED, job_id)
            assert job is not None and job.run is not None
            if not 0 <= worker < job.terms.workers:
                raise NotFound(
                    f"job {job_id} has workers 0 to {job.terms.workers - 1}, none numbered {worker}"
                )
            return job.run.site, job.run.run_id

        site, run_id = await self.do(find)
        shell_id = self.shells.open(site)
        self._plane.desks[site].open_shell(ShellOrder(shell_id, run_id, worker))
        return shell_id

    def _desk(self, site_id: str) -> Desk:
        self._plane.network.site(site_id)
        return self._plane.desks[site_id]

    # --- operators -------------------------------------------------------------------------------

    async def sites(self) -> list[Json]:
        found: list[Json] = await self.do(self._all_sites)
        return found

    async def site(self, site_id: str) -> Json:
        """{id, place, state, pools, power_kw, facility_kw, limit_kw, ...}. Raises NotFound naming them."""
        self._plane.network.site(site_id)
        return next(site for site in await self.sites() if site["id"] == site_id)

    async def drain(self, site_id: str, *, reason: str, user: str) -> Json:
        """No new work for the site; what runs there runs on."""
        self._plane.network.site(site_id)

        def act(round_: Round) -> None:
            round_.note(log.SITE_DRAINED, {"site": site_id, "reason": reason, "user": user})
            round_.tell(SiteClosed(site_id, round_.now_s, "drained"))

        await self.do(act)
        return await self.site(site_id)

    async def resume(self, site_id: str, *, reason: str = "", user: str) -> Json:
        self._plane.network.site(site_id)

        def act(round_: Round) -> None:
            round_.note(log.SITE_RESUMED, {"site": site_id, "reason": reason, "user": user})
            round_.tell(SiteOpened(site_id, round_.now_s, "drained"))

        await self.do(act)
        return await self.site(site_id)

    async def limit(self, site_id: str, *, kw: float | None, user: str) -> Json:
        """The site may draw `kw` at its facility meter from now on; None: its whole grid connection."""
        site = self._plane.network.site(site_id)
        if kw is not None and not 0 <= kw <= site.connection_kw:
            raise Invalid(f"limit {kw:g} kW: site {site_id} may be held to 0 to {site.connection_kw:g} kW")

        def act(round_: Round) -> None:
            limit_kw = site.connection_kw if kw is None else float(kw)
            round_.note(log.SITE_LIMITED, {"site": site_id, "kw": kw, "user": user})
            round_.tell(LimitChanged(site_id, round_.now_s, limit_kw))

        await self.do(act)
        return await self.site(site_id)

    def _all_sites(self, round_: Round) -> list[Json]:
        loads = round_.core.pools()
        shown = []
        for site in self._plane.network.sites:
            record = round_.state.sites[site.id]
            of_site = [load for load in loads if load.site == site.id]
            shown.append(
                {
                    "id": site.id,
                    "place": {"lat": site.place.lat, "lon": site.place.lon, "country": site.place.country},
                    "operator": site.operator,
                    "state": record.state,
                    "reason": record.drain_reason,
                    "engine": record.engine,
                    "pools": [
                        {
                            "id": load.pool,
                            "accelerator": site.pool(load.pool).accelerator,
                            "nodes": site.pool(load.pool).nodes,
                            "nodes_down": load.nodes_down,
                            "units_total": load.units_total,
                            "units_free": load.units_free,
                        }
                        for load in of_site
                    ],
                    "connection_kw": site.connection_kw,
                    "limit_kw": site.connection_kw if record.limit_kw is None else record.limit_kw,
                    "runs": len(record.live),
                }
                | self._plane.signals.site_now(site, of_site, round_.at_ms / 1000)
            )
        return shown
