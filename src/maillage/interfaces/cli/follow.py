"""Watching a job: its output on stdout, its states on stderr, from submission to the receipt."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from maillage.errors import Unreachable, UserError
from maillage.interfaces.cli import jobview, words
from maillage.interfaces.cli.ganglogs import Lines, copy_all
from maillage.interfaces.cli.output import note, stderr
from maillage.interfaces.sdk.handles import logs_call

if TYPE_CHECKING:
    from maillage.interfaces.sdk.client import Client
    from maillage.interfaces.sdk.results import JobInfo, RunInfo

POLL_S = 0.25
RECONNECT_S = 0.5
PATIENCE_S = 60.0


def copy_logs(
    client: Client,
    job: str,
    *,
    attempt: int | None = None,
    worker: int | None = None,
    follow: bool = False,
    tail: int | None = None,
    to: IO[bytes] | Lines | None = None,
) -> int:
    """Copy a job's output to stdout (or `to`), byte by byte; with `follow` until nothing more can come.
    The number of bytes comes back.

    A broken line is taken up again where it broke, so that nothing is lost or shown twice.
    """
    target = to or sys.stdout.buffer
    seen = 0
    give_up = time.monotonic() + PATIENCE_S
    while True:
        call = logs_call(job, attempt=attempt, worker=worker, follow=follow, tail=tail)
        try:
            with client.stream(call) as blocks:
                skip = seen
                for block in blocks:
                    if fresh := block[skip:]:
                        target.write(fresh)
                        target.flush()
                        seen += len(fresh)
                        give_up = time.monotonic() + PATIENCE_S
                    skip = max(0, skip - len(block))
            if not follow or _is_over(client, job, attempt):
                return seen
        except Unreachable:
            if not follow or tail is not None or time.monotonic() > give_up:
                raise
        time.sleep(RECONNECT_S)


def _is_over(client: Client, job: str, attempt: int | None) -> bool:
    info = client.job(job)
    if info.ended or attempt is None:
        return info.ended
    return any(run.attempt > attempt or (run.attempt == attempt and _over(run)) for run in info.runs)


def follow_job(
    client: Client,
    job: str,
    *,
    to: IO[bytes] | None = None,
    worker: int | None = None,
    newest_only: bool = False,
) -> JobInfo:
    """Watch a job to its end, attempt after attempt. Ctrl-C stops the watching, not the job.

    `worker` None: all of them, each line with its rank where there are several.
    `newest_only`: begin with the newest attempt there is, not with the first.
    """
    client.patience_s = PATIENCE_S
    teller = Teller()
    shown = max(0, client.job(job).attempts - 1) if newest_only else 0
    try:
        while True:
            info = _until_attempt(client, job, shown, teller)
            newest = max((run.attempt for run in info.runs), default=0)
            if newest <= shown:
                return info
            for run in sorted(info.runs, key=lambda run: run.attempt):
                if run.attempt > shown and run.started_at:
                    with _telling(client, info.id, teller):
                        _copy_attempt(client, info, run.attempt, worker, to)
            shown = newest
    except KeyboardInterrupt:
        note(f"\njob {job} goes on: `maillage job logs -f` watches it, `maillage job cancel` ends it")
        raise


def _copy_attempt(
    client: Client, info: JobInfo, attempt: int, worker: int | None, to: IO[bytes] | None
) -> None:
    def copy(rank: int, target: IO[bytes] | Lines | None) -> int:
        return copy_logs(client, info.id, attempt=attempt, worker=rank, follow=True, to=target)

    workers = int(info.raw.get("workers") or 1)
    if worker is None and workers > 1:
        copy_all(copy, workers, to)
    else:
        copy(worker or 0, to)


class Teller:
    """Says on stderr what is new about a job, once."""

    def __init__(self) -> None:
        self._said: tuple[object, ...] = ()

    def tell(self, info: JobInfo) -> None:
        run = info.runs[-1] if info.runs else None
        now = (info.state, run and (run.attempt, run.state))
        if now == self._said:
            return
        self._said = now
        shown, text = self._words(info, run)
        stderr().print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {words.state(shown)}  {words.safe(text)}")

    def _words(self, info: JobInfo, run: RunInfo | None) -> tuple[str, str]:
        if info.ended or run is None or info.state == "pending":
            return info.state, self._of_job(info, run)
        where = f"{run.site}, attempt {run.attempt}"
        if run.state == "unreachable":
            return run.state, f"{where}: nobody hears from the site; the job may well be running there"
        if run.state == "running":
            back = ", from its checkpoint" if run.restored_from else ""
            return run.state, where + back
        return run.state, f"{where}: {run.why_here}" if run.why_here else where

    def _of_job(self, info: JobInfo, run: RunInfo | None) -> str:
        if not info.ended:
            return f"again, after attempt {run.attempt} ended ({run.reason})" if run else ""
        took = jobview.took(info.raw)
        said = f"after {words.duration(took)}" if took is not None else ""
        message = str(run.raw.get("message") or "") if run and not info.succeeded else ""
        reason = info.reason if info.reason != info.state else ""
        return ", ".join(part for part in (said, reason, message) if part)


def _until_attempt(client: Client, job: str, shown: int, teller: Teller) -> JobInfo:
    """Until there is an attempt after `shown` that has started, or the job has ended."""
    with stderr().status("") as status:
        asked = 0.0
        while True:
            info = client.job(job)
            teller.tell(info)
            fresh = [run for run in info.runs if run.attempt > shown]
            if info.ended or any(run.state in ("running", "unreachable") or _over(run) for run in fresh):
                return info
            if info.state == "pending" and time.monotonic() - asked > 1.0:
                asked = time.monotonic()
                status.update(f"[dim]{words.safe(_why(client, info.id))}[/dim]")
            time.sleep(POLL_S)


def _over(run: RunInfo) -> bool:
    return run.state in ("exited", "returned", "expired")


def _why(client: Client, job: str) -> str:
    why = client.why(job)
    start = f"; expected start {words.clock(why.raw['expected_start'])}" if why.expected_start else ""
    return f"{why.detail or why.reason}{start}"


@contextlib.contextmanager
def _telling(client: Client, job: str, teller: Teller) -> Iterator[None]:
    """Tell changes of state while the output streams."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(2 * POLL_S):
            try:
                info = client.job(job)
            except UserError:  # the stream beside it tells of the same trouble, or gets over it
                continue
            if not info.ended:  # the end is told when the last of the output is out
                teller.tell(info)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=2.0)
