"""The same fold and decide, run ahead on a copy by estimated ends: when would a job start?"""

from __future__ import annotations

from maillage.scheduling.kernel.compilation import compiled, entry
from maillage.scheduling.kernel.decide import decide
from maillage.scheduling.kernel.fold import end
from maillage.scheduling.kernel.layout import CLASSES, FOREVER, LIVE, NONE, STOPPING, WAITING, State


@compiled
def next_end(state: State) -> int:
    """The live job with the earliest estimated end, or NONE."""
    best, best_s = NONE, FOREVER
    for p in range(state.core[0].pools):
        block = state.lines[state.pools[p].line].first
        if block != NONE:
            job = state.rows[block, 0]
            if state.jobs[job].end_s < best_s:
                best, best_s = job, state.jobs[job].end_s
    return best


@entry
def start_of(state: State, job: int, now_s: int, most_ends: int) -> int:
    """Run until `job` starts. Returns the instant, or NONE if it does not within `most_ends` ends."""
    for _ in range(most_ends):
        decide(state, now_s)
        if state.jobs[job].status == LIVE:
            return now_s
        ending = next_end(state)
        if ending == NONE or state.jobs[job].status != WAITING:
            return NONE
        now_s = max(now_s, state.jobs[ending].end_s)
        while ending != NONE and state.jobs[ending].end_s <= now_s:
            this = state.jobs[ending]
            end(state, ending, now_s, this.status == STOPPING and this.job_class == CLASSES - 1)
            ending = next_end(state)
    return NONE
