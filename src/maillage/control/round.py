"""One round of the loop: the entries of one transaction, folded as they are written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from maillage.control import log
from maillage.control.log import Entry
from maillage.control.state import State
from maillage.scheduling.messages import Command, Event

if TYPE_CHECKING:
    from maillage.control.store import Store
    from maillage.scheduling.scheduler import Scheduler


class Round:
    """What an input may see and do. `at_ms` is one instant for the whole round.

    An input checks first and writes after: when it raises, it must not have noted anything.
    """

    def __init__(
        self, state: State, core: Scheduler, store: Store, last_offset: int, at_ms: int, mono_s: float
    ) -> None:
        self.state = state
        self.core = core
        self.store = store
        self.at_ms = at_ms
        self.now_s = at_ms // 1000
        self.mono_s = mono_s
        self.entries: list[Entry] = []
        self.commands: tuple[Command, ...] = ()
        self._offset = last_offset

    @property
    def offset(self) -> int:
        """Of the newest entry."""
        return self._offset

    def note(self, kind: str, body: dict[str, Any], job_id: str = "") -> None:
        """Write down and fold a fact that the core does not hear."""
        self._add(kind, orjson.dumps(body), job_id)
        self.state.apply(self._offset, self.at_ms, kind, body)

    def tell(self, event: Event, job_id: str = "") -> None:
        """Write down and fold an event, and let the core hear it."""
        self._add(event.kind, log.event_body(event), job_id)
        self.state.apply(self._offset, self.at_ms, event.kind, event)
        self.core.fold(event)

    def decide(self) -> None:
        """Let the core decide. Written down when anything was heard or anything is to be done."""
        commands = self.core.decide(self.now_s)
        if not commands and not self.entries:
            return
        self.commands = commands
        self._add(log.DECISION, log.decision_body(self.now_s, commands), "")
        self.state.apply(self._offset, self.at_ms, log.DECISION, commands)

    def _add(self, kind: str, body: bytes, job_id: str) -> None:
        self._offset += 1
        self.entries.append(Entry(self._offset, self.at_ms, kind, body, job_id))


Input = Callable[[Round], Any]
