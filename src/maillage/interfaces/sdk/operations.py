"""Every operation of the API, written once for the blocking and the awaiting client."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from maillage.errors import TimedOut
from maillage.interfaces.sdk.results import ENDED, EndpointInfo, JobInfo, Json, Page, SiteInfo, Why
from maillage.interfaces.sdk.wire import Answer, Call, Pause, Plan, delete, get, given, post, segment, send

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Drives a plan and returns its result."""

    def drive(self, plan: Plan[T]) -> T:
        raise NotImplementedError


class Awaiting:
    """Drives a plan in an event loop."""

    async def drive(self, plan: Plan[T]) -> T:
        raise NotImplementedError


class operation(Generic[P, T]):  # noqa: N801 - used as a decorator
    """A method whose plan is driven by whoever it is called on: `T` or `Awaitable[T]` comes back.

    `plan` is the plain generator function, for plans made of other plans.
    """

    def __init__(self, plan: Callable[Concatenate[Any, P], Plan[T]]) -> None:
        self.plan = plan
        functools.update_wrapper(cast(Any, self), plan)

    @overload
    def __get__(self, owner: Blocking, kind: type | None = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, owner: Awaiting, kind: type | None = None) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, owner: None, kind: type | None = None) -> operation[P, T]: ...
    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self

        @functools.wraps(self.plan)
        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            return owner.drive(self.plan(owner, *args, **kwargs))

        return call


class Operations:
    """The calls that both clients have. `patience_s`: how long a bad line is tried again."""

    patience_s: float = 10.0

    def _send(self, call: Call) -> Plan[Answer]:
        return send(call, self.patience_s)

    @operation
    def json(self, call: Call) -> Plan[Any]:
        """The answer's JSON to any call; for routes that have no method here."""
        return (yield from self._send(call)).json()

    # jobs

    @operation
    def submit(self, spec: Json, key: str | None = None, source: str = "") -> Plan[JobInfo]:
        """Submit one prepared job. The idempotency key, made here where none is given, makes a
        repeated request after a lost answer one job, not two."""
        body = {
            "spec": spec,
            "idempotency_key": key or uuid.uuid4().hex,
            "spec_source": source[-300:] or None,
        }
        answer = yield from self._send(post("/jobs", given(body), repeatable=True))
        return JobInfo.read(answer.json())

    @operation
    def quote(self, spec: Json) -> Plan[Json]:
        """Where and when a job would start and what it would cost; nothing is submitted."""
        return cast(
            Json, (yield from self._send(post("/jobs:quote", {"spec": spec}, repeatable=True))).json()
        )

    @operation
    def jobs(
        self,
        *,
        project: str | None = None,
        state: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Plan[Page]:
        """One page of jobs, newest first."""
        call = get("/jobs", project=project, state=state, name=name, limit=limit, cursor=cursor)
        return Page.read((yield from self._send(call)).json())

    @operation
    def job(self, job: str) -> Plan[JobInfo]:
        """A job by its id or unique name, with its runs and receipt."""
        return JobInfo.read((yield from self._send(get(f"/jobs/{segment(job)}"))).json())

    @operation
    def why(self, job: str) -> Plan[Why]:
        return Why.read((yield from self._send(get(f"/jobs/{segment(job)}/why"))).json())

    @operation
    def cancel(self, job: str) -> Plan[JobInfo]:
        call = post(f"/jobs/{segment(job)}/cancel", repeatable=True)
        return JobInfo.read((yield from self._send(call)).json())

    @operation
    def requeue(self, job: str) -> Plan[JobInfo]:
        return JobInfo.read((yield from self._send(post(f"/jobs/{segment(job)}/requeue"))).json())

    @operation
    def events(self, job: str) -> Plan[list[Json]]:
        """The job's own log, oldest first."""
        return cast(list[Json], (yield from self._send(get(f"/jobs/{segment(job)}/events"))).json()["items"])

    @operation
    def outputs(self, job: str) -> Plan[Json]:
        return cast(Json, (yield from self._send(get(f"/jobs/{segment(job)}/outputs"))).json())

    @operation
    def wait(self, job: str, timeout_s: float | None = None) -> Plan[JobInfo]:
        """The job (all of an array) once it has ended. Raises TimedOut after `timeout_s`; it goes on."""
        give_up = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.05
        while True:
            info = JobInfo.read((yield from self._send(get(f"/jobs/{segment(job)}"))).json())
            if info.ended and all(state in ENDED for state in info.raw.get("array_states", ())):
                return info
            left_s = pause_s if give_up is None else give_up - time.monotonic()
            if left_s <= 0:
                raise TimedOut(f"job {info.id} is still {info.state} after {timeout_s:g} s; it goes on")
            yield Pause(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, 1.0)

    # what travels with a job

    @operation
    def upload(self, digest: str, archive: Path | bytes) -> Plan[bool]:
        """Store an archive under its digest; False where the network had it already."""
        head = Call("HEAD", f"/artifacts/{segment(digest)}", repeatable=True, missing_is_fine=True)
        if (yield from self._send(head)).status != 404:
            return False
        put = Call("PUT", f"/artifacts/{segment(digest)}", content=archive, repeatable=True, timeout_s=600.0)
        yield from self._send(put)
        return True

    # endpoints

    @operation
    def deploy(self, spec: Json, source: str = "") -> Plan[EndpointInfo]:
        """Make the endpoint of that name what the spec says, new or not."""
        call = post("/endpoints", {"spec": spec, "spec_source": source[-300:]}, repeatable=True)
        return EndpointInfo.read((yield from self._send(call)).json())

    @operation
    def endpoints(self) -> Plan[list[EndpointInfo]]:
        items = (yield from self._send(get("/endpoints"))).json()["items"]
        return [EndpointInfo.read(item) for item in items]

    @operation
    def endpoint(self, name: str) -> Plan[EndpointInfo]:
        return EndpointInfo.read((yield from self._send(get(f"/endpoints/{segment(name)}"))).json())

    @operation
    def scale(self, name: str, least: int, most: int) -> Plan[EndpointInfo]:
        call = post(f"/endpoints/{segment(name)}/scale", {"min": least, "max": most}, repeatable=True)
        return EndpointInfo.read((yield from self._send(call)).json())

    @operation
    def delete_endpoint(self, name: str) -> Plan[EndpointInfo]:
        """The endpoint as it was."""
        return EndpointInfo.read((yield from self._send(delete(f"/endpoints/{segment(name)}"))).json())

    # sites

    @operation
    def sites(self) -> Plan[list[SiteInfo]]:
        return [SiteInfo.read(item) for item in (yield from self._send(get("/sites"))).json()["items"]]

    @operation
    def site(self, site: str) -> Plan[SiteInfo]:
        return SiteInfo.read((yield from self._send(get(f"/sites/{segment(site)}"))).json())

    @operation
    def order_site(self, site: str, verb: str, body: Json) -> Plan[SiteInfo]:
        """`verb`: drain | resume | limit | cut."""
        call = post(f"/sites/{segment(site)}/{segment(verb)}", body, repeatable=True)
        return SiteInfo.read((yield from self._send(call)).json())

    # the network itself

    @operation
    def status(self) -> Plan[Json]:
        return cast(Json, (yield from self._send(get("/status"))).json())

    @operation
    def whoami(self) -> Plan[Json]:
        return cast(Json, (yield from self._send(get("/me"))).json())
