"""Inputs from sites: what a sync call says, folded against what we believe. And sites that fall silent.

Everything is fenced by (job, attempt): a report about a run that is over, or about a run of another
site, changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from maillage.control import log
from maillage.control.protocol import SyncRequest
from maillage.control.records import Run, SiteRecord
from maillage.control.round import Round
from maillage.engines.port import PoolCapacity, RunReport
from maillage.scheduling.messages import (
    CancelRequested,
    Ended,
    NodesDown,
    NodesUp,
    SiteClosed,
    SiteOpened,
    Started,
)
from maillage.workloads.lifecycle import ENDINGS, RUN_TRANSITIONS, EndReason, JobState, RunState

RETURNED_AT_MOST = 10  # times in a row; then it is the job's failure, or it would go round for ever
_LIVE_AT_SITE = frozenset({RunState.ACCEPTED, RunState.STARTING, RunState.RUNNING})


def take_sync(round_: Round, site_id: str, request: SyncRequest) -> None:
    """Fold one sync call. Calls of a former incarnation are too late and change nothing."""
    site = round_.state.sites[site_id]
    if request.incarnation in site.former_incarnations:
        return
    _see(round_, site, request)
    for report in request.reports:
        run = site.live.get(report.run_id)
        if run is not None:
            take_report(round_, run, report)
    _compare(round_, site, request)


def _see(round_: Round, site: SiteRecord, request: SyncRequest) -> None:
    same = site.incarnation == request.incarnation and site.capacity == request.capacity
    if site.reachable and same:
        return
    was_reachable, before = site.reachable, site.capacity
    body = {
        "site": site.site_id,
        "incarnation": request.incarnation,
        "engine": request.engine,
        "capacity": [asdict(pool) for pool in request.capacity],
    }
    round_.note(log.SITE_SEEN, body)
    tell_nodes(round_, site.site_id, before, request.capacity)
    if not was_reachable:
        round_.tell(SiteOpened(site.site_id, round_.now_s, "unreachable"))


def tell_nodes(
    round_: Round, site_id: str, before: tuple[PoolCapacity, ...], now: tuple[PoolCapacity, ...]
) -> None:
    """Tell the core of the nodes that went down or came up between two reports of a site's capacity."""
    were_down = {pool.pool: set(pool.nodes_down) for pool in before}
    for pool in now:
        were, are = were_down.get(pool.pool, set()), set(pool.nodes_down)
        if are - were:
            round_.tell(NodesDown(site_id, pool.pool, tuple(sorted(are - were)), round_.now_s))
        if were - are:
            round_.tell(NodesUp(site_id, pool.pool, tuple(sorted(were - are)), round_.now_s))


def _compare(round_: Round, site: SiteRecord, request: SyncRequest) -> None:
    """What the agent has against what we believe it has."""
    has = set(request.known)
    has.update(report.run_id for report in request.reports)
    for run in list(site.live.values()):
        if run.run_id in has:
            if not run.accepted or run.state is RunState.UNREACHABLE:
                _note_state(round_, run, RunState.ACCEPTED, {})
        elif run.accepted:
            lost = EndReason.RETURNED if not run.started_ms else EndReason.NODE_LOST
            end_run(round_, run, run.stop or lost, "the site does not have it any more")
        elif run.stop is not None and request.version_seen >= run.start_offset:
            # Its order cannot be on the way any more: the agent has seen what came after it.
            end_run(round_, run, run.stop, "stopped before the site had it")


def take_report(round_: Round, run: Run, report: RunReport) -> None:
    """Fold what a site says of a live run of its own."""
    facts = _news(run, report, round_.at_ms)
    if report.state.ended:
        reason = report.reason or (EndReason.FAILED if any(report.exit_codes) else EndReason.SUCCEEDED)
        if run.stop is not None and reason is EndReason.FAILED:
            reason = run.stop  # it was told to stop: dying of that is no failure
        facts |= {"exit_codes": report.exit_codes, "output": report.output}
        facts |= {
            "metered_cpu_s": report.metered_cpu_s,
        }
        facts["ended_ms"] = _ended_ms(run, report, facts.get("started_ms", run.started_ms), round_.at_ms)
        end_run(round_, run, reason, report.message, facts)
    elif report.state in _LIVE_AT_SITE:
        _note_state(round_, run, report.state, facts | {"metered_cpu_s": report.metered_cpu_s})
        job = round_.state.jobs[run.job_id]
        if run.state is RunState.RUNNING and job.state is JobState.SCHEDULED:
            round_.tell(Started(run.job_id, run.attempt, round_.now_s), run.job_id)


def _news(run: Run, report: RunReport, at_ms: int) -> dict[str, Any]:
    """What the report says that we did not know, of what is worth an entry."""
    news: dict[str, Any] = {}
    if report.started_at_ms and not run.started_ms:
        news["started_ms"] = max(min(report.started_at_ms, at_ms - _lasted_ms(report)), run.assigned_ms)
    if report.checkpoint and report.checkpoint != run.checkpoint:
        news["checkpoint"] = report.checkpoint
        news["checkpoint_ms"] = min(report.checkpoint_at_ms or at_ms, at_ms)
    if report.message and report.message != run.message:
        news["message"] = report.message
    if not report.state.ended and (report.address != run.address or report.ready != run.ready):
        news |= {"address": report.address, "ready": report.ready}
    return news


def _lasted_ms(report: RunReport) -> int:
    """By the site's clock alone; 0 for what it does not say."""
    if not report.started_at_ms or not report.ended_at_ms:
        return 0
    return max(0, report.ended_at_ms - report.started_at_ms)


def _ended_ms(run: Run, report: RunReport, started_ms: int, at_ms: int) -> int:
    """The site's own instant, between what we know before and after it. Clocks differ: how long the
    run lasted is the site's word, when it began is ours."""
    lasted_ms = _lasted_ms(report)
    ended_ms = started_ms + lasted_ms if started_ms and lasted_ms else report.ended_at_ms or at_ms
    return min(max(ended_ms, started_ms or run.assigned_ms), at_ms)


def _note_state(round_: Round, run: Run, state: RunState, facts: dict[str, Any]) -> None:
    """Note a live run's news; nothing when there is none but its CPU time."""
    body = {"run_id": run.run_id, "site": run.site} | facts
    if state is not run.state and state in RUN_TRANSITIONS[run.state]:
        body["state"] = state
        round_.note(log.RUN_REPORT, body, run.job_id)
    elif facts.keys() - {"metered_cpu_s"}:
        kind = log.CHECKPOINT if "checkpoint" in facts else log.RUN_REPORT
        round_.note(kind, body, run.job_id)


def end_run(
    round_: Round, run: Run, reason: EndReason, message: str, facts: dict[str, Any] | None = None
) -> None:
    """A live run is over. `facts`: what else its last report said."""
    job = round_.state.jobs[run.job_id]
    if reason is EndReason.RETURNED and job.returned_in_a_row + 1 >= RETURNED_AT_MOST:
        reason = EndReason.FAILED
        message = f"given back {RETURNED_AT_MOST} times in a row without a start; the last time: {message}"
    body = {"run_id": run.run_id, "site": run.site} | (facts or {})
    if message:
        body["message"] = message
    round_.note(log.RUN_REPORT, body, run.job_id)
    if run.started_ms and job.state is JobState.SCHEDULED:
        round_.tell(Started(run.job_id, run.attempt, round_.now_s), run.job_id)
    round_.tell(Ended(run.job_id, run.attempt, round_.now_s, reason), run.job_id)
    assert ENDINGS[reason].run is run.state


@dataclass(slots=True)
class Watch:
    """When sites were last heard, on the monotonic clock. Written by whoever answers a site's call.

    If the loop itself was away for a while (the machine slept, the process was stopped), nobody
    could be heard meanwhile: that time does not count against the sites.
    """

    timeout_s: float = 10.0
    seen_s: dict[str, float] = field(default_factory=dict)
    _looked_s: float = -1.0

    def look(self, round_: Round) -> None:
        """The loop's chore: close sites that fell silent, and end what waited for them long enough."""
        away_s = round_.mono_s - self._looked_s if self._looked_s >= 0 else 0.0
        self._looked_s = round_.mono_s
        if away_s > self.timeout_s / 2:
            for site_id in self.seen_s:
                self.seen_s[site_id] += away_s
        for site in round_.state.sites.values():
            silent_s = round_.mono_s - self.seen_s.setdefault(site.site_id, round_.mono_s)
            overdue = [run for run in site.live.values() if silent_s >= keep_for_s(round_, run)]
            if site.reachable and (overdue or silent_s > self.timeout_s):
                lose_site(round_, site)
            for run in overdue:
                _give_up(round_, run)


def keep_for_s(round_: Round, run: Run) -> float:
    """How long after its site was last heard the job's own choice is due."""
    return round_.state.jobs[run.job_id].terms.keep_for_ms / 1000


def lose_site(round_: Round, site: SiteRecord) -> None:
    """Nobody hears the site. What runs there is unreachable, not failed."""
    round_.note(log.SITE_UNREACHABLE, {"site": site.site_id})
    round_.tell(SiteClosed(site.site_id, round_.now_s, "unreachable"))


def _give_up(round_: Round, run: Run) -> None:
    """The job's own choice: replace it, or let it end."""
    job = round_.state.jobs[run.job_id]
    silent = f"site {run.site} was not heard for {keep_for_s(round_, run):g} s"
    if not job.terms.replace_when_lost and not job.cancel_asked:
        said = {"job_id": job.job_id, "user": "", "message": f"{silent} and the job asks to stop then"}
        round_.note(log.JOB_CANCEL, said, job.job_id)
        round_.tell(CancelRequested(job.job_id, round_.now_s), job.job_id)
    end_run(round_, run, EndReason.SITE_LOST, silent)
