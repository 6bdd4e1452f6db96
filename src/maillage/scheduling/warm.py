"""Compiles what the live loop will call, by a short life in a core that is thrown away."""

from __future__ import annotations

from dataclasses import replace

from maillage.scheduling import explain
from maillage.scheduling.messages import (
    Adopted,
    CancelRequested,
    Ended,
    Event,
    LimitChanged,
    NodesDown,
    NodesUp,
    RequeueRequested,
    SignalChanged,
    SiteClosed,
    SiteOpened,
    Started,
    Submitted,
)
from maillage.scheduling.scheduler import Scheduler
from maillage.workloads.lifecycle import EndReason


def exercise(core: Scheduler) -> None:
    """Every kind of event once, so that each compiled function is met."""
    site = core.network.sites[0]
    first, second = "first", "second"
    asked = Submitted(first, 0, accelerators=(site.pools[0].accelerator,), estimate_s=60)
    events: tuple[Event, ...] = (
        SignalChanged(site.id, 0, 30.0, 50.0, 15.0),
        replace(asked, job_id="adopted"),
        Adopted("adopted", 2, 0, site.id, site.pools[0].id, ((0, 1),)),
        Ended("adopted", 2, 0, EndReason.SUCCEEDED),
        asked,
        replace(asked, job_id=second, after=(first,)),
        LimitChanged(site.id, 0, -1.0),
        NodesDown(site.id, site.pools[0].id, (0,), 0),
        NodesUp(site.id, site.pools[0].id, (0,), 0),
        SiteClosed(site.id, 0),
        SiteOpened(site.id, 0),
        Started(first, 1, 0),
        RequeueRequested(first, 0),
        Ended(first, 1, 0, EndReason.REQUEUED),
        CancelRequested(first, 0),
    )
    for event in events:
        core.fold(event)
        core.decide(0)
    explain.why(core, second, 0)
    core.pools()
