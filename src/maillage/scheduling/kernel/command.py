"""How the kernel says what is to be done."""

from __future__ import annotations

from maillage.scheduling.kernel.compilation import compiled
from maillage.scheduling.kernel.layout import State


@compiled
def say(state: State, what: int, job: int, reason: int) -> None:
    core = state.core[0]
    command = state.commands[core.commands]
    command.what = what
    command.job = job
    command.attempt = state.jobs[job].attempt
    command.reason = reason
    core.commands += 1
