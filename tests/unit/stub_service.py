"""A service without a network, for tests of routes and roles only: it says what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from maillage.control.artifacts import FolderStore
from maillage.control.protocol import LogPush, SyncRequest, SyncResponse
from maillage.control.service import Json, Replica, Service, Submission, Usage
from maillage.control.shells import Shells
from maillage.errors import NotFound, UserError
from maillage.workloads.endpoint import EndpointSpec
from maillage.workloads.job import JobSpec
from maillage.workloads.lifecycle import JobState

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def job(job_id: str, project: str, state: str = "running") -> Json:
    return {
        "id": job_id, "name": f"job-{project}", "project": project, "org": f"org-{project}", "user": "ada",
        "kind": "job", "state": state, "reason": "", "message": "", "workers": 1, "attempts": 1,
        "site": "paris", "submitted_at": "2026-01-01T00:00:00.000Z", "started_at": None,
        "ended_at": None, "array_index": None,
        "outputs": {"artifact": None}, "spec": {},
    }  # fmt: skip


class StubService(Service):
    """`orders` holds every order that would have changed something."""

    def __init__(self, folder: Path) -> None:
        self.artifacts = FolderStore(folder / "artifacts")
        self.shells = Shells(lambda site, shell_id: None)
        self.orders: list[tuple[Any, ...]] = []
        self.kept = {
            "jown000000000a": job("jown000000000a", "own"),
            "joth000000000a": job("joth000000000a", "other"),
        }
        self.deployed = {"chat-own": "own", "chat-other": "other"}
        self.site_ids = ("paris", "mulhouse")
        self.changes: asyncio.Queue[int] = asyncio.Queue()
        self.texts: list[tuple[bytes, bool]] = [(b"hello\n", True)]
        self.died: BaseException | None = None
        self.refused: UserError | None = None

    @property
    def failure(self) -> BaseException | None:
        return self.died

    @property
    def refusing(self) -> UserError | None:
        return self.refused

    def stop_holding(self) -> None:
        pass  # no call is held here

    async def submit(
        self, items: Sequence[Submission], *, org: str, project: str, user: str
    ) -> list[Json | UserError]:
        self.orders.append(("submit", org, project, user, len(items)))
        return [job("jnew000000000a", project, "pending") | {"name": item.spec.name} for item in items]

    async def quote(self, spec: JobSpec, *, org: str, project: str) -> Json:
        return {"site": "paris", "pool": "cpu", "start_s": 0, "wait_s": 0, "reason": f"{org}/{project}"}

    async def jobs(
        self,
        projects: set[str] | None,
        state: str | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Json:
        found = [one for one in self.kept.values() if projects is None or one["project"] in projects]
        return {"items": found[:limit], "next": None}

    async def job(self, ref: str, projects: set[str] | None) -> Json:
        for one in self.kept.values():
            if ref in (one["id"], one["name"]) and (projects is None or one["project"] in projects):
                return one
        raise NotFound(f"no job {ref!r}")

    async def why(self, job_id: str) -> Json:
        return {"reason": "queue", "detail": "2 jobs ahead", "mend": "wait", "expected_start": None}

    async def job_events(self, job_id: str) -> list[Json]:
        return [{"offset": 1, "at": "2026-01-01T00:00:00.000Z", "kind": "submitted", "body": {}}]

    async def cancel(self, job_id: str, user: str) -> Json:
        self.orders.append(("cancel", job_id, user))
        return self.kept[job_id]

    async def requeue(self, job_id: str, user: str) -> Json:
        self.orders.append(("requeue", job_id, user))
        return self.kept[job_id]

    async def open_shell(self, job_id: str, worker: int) -> str:
        self.orders.append(("shell", job_id, worker))
        return self.shells.open("paris")

    async def sync(self, site: str, request: SyncRequest) -> SyncResponse:
        self.orders.append(("sync", site, request.seq))
        return SyncResponse(version=1, desired=("j0000000000000.1",))

    async def push_logs(self, site: str, push: LogPush) -> None:
        self.orders.append(("logs", site, len(push.chunks)))

    async def read_logs(
        self, job_id: str, attempt: int, worker: int, offset: int, limit: int
    ) -> tuple[bytes, bool]:
        return self.texts.pop(0) if self.texts else (b"", True)

    async def sites(self) -> list[Json]:
        return [await self.site(site) for site in self.site_ids]

    async def site(self, site_id: str) -> Json:
        if site_id not in self.site_ids:
            raise NotFound(f"no site {site_id!r}; there are: {', '.join(self.site_ids)}")
        pool = {"id": "cpu", "accelerator": "cpu", "nodes": 2, "units_total": 8, "units_free": 6}
        return {
            "id": site_id, "state": "open", "pools": [pool], "place": {"lat": 48.86, "lon": 2.35},
            "power_kw": 0.2, "facility_kw": 0.25, "limit_kw": 50.0, "carbon_g_per_kwh": 31.0,
            "price_eur_per_mwh": 60.0, "pue": 1.07, "runs": 1,
        }  # fmt: skip

    async def drain(self, site_id: str, *, reason: str, user: str) -> Json:
        return await self._order("drain", site_id, user)

    async def resume(self, site_id: str, *, reason: str = "", user: str) -> Json:
        return await self._order("resume", site_id, user)

    async def limit(self, site_id: str, *, kw: float | None, user: str) -> Json:
        return await self._order("limit", site_id, kw)

    async def _order(self, verb: str, site_id: str, what: Any) -> Json:
        self.orders.append((verb, site_id, what))
        return await self.site(site_id)

    async def deploy(self, spec: EndpointSpec, *, org: str, project: str, user: str) -> Json:
        self.orders.append(("deploy", spec.name, org, project))
        return self._endpoint(spec.name, project)

    async def endpoints(self, projects: set[str] | None) -> list[Json]:
        named = self.deployed.items()
        return [self._endpoint(name, own) for name, own in named if projects is None or own in projects]

    async def endpoint(self, name: str, projects: set[str] | None) -> Json:
        project = self.deployed.get(name)
        if project is None or (projects is not None and project not in projects):
            raise NotFound(f"no endpoint {name!r}")
        return self._endpoint(name, project)

    async def scale(self, name: str, *, minimum: int, maximum: int, user: str) -> Json:
        self.orders.append(("scale", name, minimum, maximum))
        return self._endpoint(name, self.deployed[name])

    async def delete_endpoint(self, name: str, *, user: str) -> Json:
        self.orders.append(("delete", name))
        return self._endpoint(name, self.deployed[name])

    def _endpoint(self, name: str, project: str) -> Json:
        return {
            "name": name,
            "project": project,
            "state": "ready",
            "replicas": [],
            "wanted": 1,
            "min": 1,
            "max": 1,
        }

    def replicas(self, model_name: str, projects: set[str] | None) -> tuple[Replica, ...]:
        return ()

    def models(self, projects: set[str] | None) -> tuple[str, ...]:
        return tuple(name for name, own in self.deployed.items() if projects is None or own in projects)

    def record_usage(self, usage: Usage) -> None:
        self.orders.append(("usage", usage.endpoint))

    async def subscribe(self) -> AsyncIterator[int]:
        while True:
            yield await self.changes.get()

    async def log_entries(self, after: int, limit: int) -> list[Json]:
        return [{"offset": after + 1, "at_ms": 0, "kind": "submitted", "body": {}}]

    async def status(self) -> Json:
        return {
            "version": "0", "network": "laptop", "uptime_s": 1.0,
            "jobs": {JobState.RUNNING: 1, JobState.PENDING: 2}, "policy": {}, "log_offset": 7,
            "refusing": None,
        }  # fmt: skip
