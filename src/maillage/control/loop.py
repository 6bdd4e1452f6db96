"""The loop: inputs in, one decision, one transaction, then answers and news out.

`Loop.step` is one round and can be driven by hand; `LoopThread` drives it with a queue. Nothing is
visible before it is durable. When the store cannot be written, what the round did is forgotten by
folding the log again, its inputs are refused, and the loop tries again when there is room.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog

from maillage.control import log
from maillage.control.log import Entry
from maillage.control.projections import Projections
from maillage.control.round import Input, Round
from maillage.control.state import Changes, State, read_fact
from maillage.control.store import CannotWrite, Store
from maillage.errors import Fault, Unreachable, UserError
from maillage.scheduling.messages import Submitted, is_event

if TYPE_CHECKING:
    from maillage.control.clock import Clock
    from maillage.scheduling.scheduler import Scheduler

TICK_S = 1.0
DECIDE_AGAIN_S = 5.0  # what waits may become possible by time alone: a cleaner hour, an estimate passed
_MOST_INPUTS = 2_000  # in one round, so that an answer does not wait for a flood behind it
_FORGET_EVERY = 2_000  # entries folded at a restart before ended jobs are let go of

_logger = structlog.get_logger("maillage.loop")


class Diverged(Exception):
    """The core does not decide again what the log says it decided."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An input and who waits for its answer: the input's result, or the exception it met."""

    act: Input
    answer: Callable[[Any], None]


class Loop:
    """The single writer.

    `publish(changes)` is called after each commit, on the loop's thread. `chores` are run once a tick.
    `receipts(changes)` gives the receipts of the jobs that ended, by job id. `make_core` makes an
    empty scheduler, to fold the log into.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        make_core: Callable[[], Scheduler],
        publish: Callable[[Changes, int], None],
        receipts: Callable[[Changes], dict[str, bytes]] = lambda changes: {},
        chores: Sequence[Callable[[Round], None]] = (),
    ) -> None:
        self.store = store
        self.clock = clock
        self.chores = list(chores)
        self.refusing: CannotWrite | None = None
        self.rounds = 0
        self.told_decided: Callable[[float], None] = lambda duration_s: None
        self._make_core = make_core
        self._publish = publish
        self._receipts = receipts
        self._projections = Projections(store.engine.dialect.name)
        self._next_tick_s = 0.0
        self._decided_s = 0.0
        self.state = State()
        self.asked: dict[str, Submitted] = {}  # what the live jobs of the folded log asked for
        self.core = make_core()
        self.offset = 0

    def restore(self, with_core: bool = True) -> int:
        """Fold the whole log; returns how many entries there were.

        The core begins at the newest `network` entry. Raises Diverged when it decides otherwise than it did:
        another version of it wrote the log.
        """
        self.state, self.core, self.offset = State(), self._make_core(), 0
        self.asked = {}
        core_from = self.store.last_of_kind(log.NETWORK)
        count = 0
        for count, entry in enumerate(self.store.entries(), 1):
            self._refold(entry, with_core and entry.offset > core_from)
            if count % _FORGET_EVERY == 0:
                self._forget()
        self._forget()
        return count

    def _forget(self) -> None:
        """Let go of the jobs that have ended."""
        for job_id in self.state.take_changes().ended_jobs:
            self.asked.pop(job_id, None)

    def _refold(self, entry: Entry, with_core: bool) -> None:
        body = entry.read()
        fact = read_fact(entry.kind, body)
        self.state.apply(entry.offset, entry.at_ms, entry.kind, fact)
        self.offset = entry.offset
        if isinstance(fact, Submitted):
            self.asked[fact.job_id] = fact
        if with_core and is_event(entry.kind):
            self.core.fold(fact)
        elif with_core and entry.kind == log.DECISION and self.core.decide(body["now_s"]) != fact:
            raise Diverged(f"the decision at offset {entry.offset} comes out otherwise with this scheduler")

    def begin_core(self) -> None:
        """A core that has heard nothing: what it needs must follow in the log."""
        self.core = self._make_core()

    def until_tick_s(self) -> float:
        return max(0.0, self._next_tick_s - self.clock.mono_s())

    def step(self, inputs: Sequence[Pending]) -> None:
        """One round: never raises for what the world does; answers every input."""
        if not self._ready():
            assert self.refusing is not None
            _answer_all(inputs, self.refusing)
            return
        round_, results = self._hear(inputs)
        self._tick(round_)
        if round_.entries or round_.mono_s - self._decided_s >= DECIDE_AGAIN_S:
            began_s = self.clock.mono_s()
            round_.decide()
            self.told_decided(self.clock.mono_s() - began_s)
            self._decided_s = round_.mono_s
        if round_.entries:
            try:
                self._commit(round_)
            except CannotWrite as error:
                self._refuse(error)
                _answer_all(inputs, error)
                return
        for pending, result in zip(inputs, results, strict=True):
            pending.answer(result)

    def _hear(self, inputs: Sequence[Pending]) -> tuple[Round, list[Any]]:
        """All inputs folded into one round. One that fails half-way is left out, and the others are
        folded again from the log."""
        failed: dict[int, Fault] = {}
        while True:
            at_ms, mono_s = self.clock.now_ms(), self.clock.mono_s()
            round_ = Round(self.state, self.core, self.store, self.offset, at_ms, mono_s)
            results: list[Any] = []
            for index, pending in enumerate(inputs):
                before = round_.offset
                results.append(failed[index] if index in failed else _act(pending.act, round_))
                if isinstance(results[-1], Fault) and round_.offset > before:
                    failed[index] = results[-1]
                    self.restore()
                    break
            else:
                return round_, results

    def _tick(self, round_: Round) -> None:
        if round_.mono_s < self._next_tick_s:
            return
        self._next_tick_s = round_.mono_s + TICK_S
        for chore in self.chores:
            chore(round_)

    def _commit(self, round_: Round) -> None:
        changes = self.state.take_changes()
        writes = self._projections.writes(changes, self._receipts(changes))
        self.store.commit(round_.entries, writes)
        self.offset = round_.offset
        self.rounds += 1
        self._publish(changes, self.offset)

    def _refuse(self, error: CannotWrite) -> None:
        if self.refusing is None:
            _logger.error("cannot write the log; refusing until it can be written", error=str(error))
        self.refusing = error
        self._next_tick_s = self.clock.mono_s() + TICK_S

    def _ready(self) -> bool:
        """Whether the state may be used. While refusing, try for room once a tick."""
        if self.refusing is None:
            return True
        if self.until_tick_s() > 0:
            return False
        self._next_tick_s = self.clock.mono_s() + TICK_S
        try:
            self.store.check_room()
        except CannotWrite as error:
            self.refusing = error
            return False
        self.restore()
        self.refusing = None
        _logger.info("the log can be written again", offset=self.offset)
        return True


def _act(act: Input, round_: Round) -> Any:
    try:
        return act(round_)
    except UserError as error:
        return error
    except sa.exc.OperationalError as error:  # the world's: the database is away while the input looks at it
        return CannotWrite(f"the network cannot read its store ({error.orig}); send it again in a moment")
    except AssertionError:
        raise  # our own state is not what it must be: nothing that follows could be trusted
    except Exception as error:  # ours too, but of this one input: it must not take the network down
        _logger.exception("an input met a fault of ours and is refused")
        return Fault(
            f"the network met a fault of its own at this request ({type(error).__name__}); nothing of it "
            "was kept. The server's log has the details: please report them"
        )


def _answer_all(inputs: Sequence[Pending], result: Any) -> None:
    for pending in inputs:
        pending.answer(result)


class LoopThread:
    """Drives a loop: takes what waits, at least once a tick. A fault of ours ends it (`failure`)."""

    def __init__(
        self,
        step: Callable[[Sequence[Pending]], None],
        until_tick_s: Callable[[], float],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.failure: BaseException | None = None
        self.ended = False
        self._step = step
        self._until_tick_s = until_tick_s
        self._on_failure = on_failure
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="maillage-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, pending: Pending) -> None:
        """Hand an input in. It is answered by a round, or at once when the thread has ended."""
        self._queue.put(pending)
        if self.ended:
            self._refuse_rest()

    def stop(self) -> None:
        """Finish the inputs that wait, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        inputs: list[Pending] = []
        try:
            going = True
            while going:
                inputs, going = self._take()
                self._step(inputs)
        except BaseException as error:
            self.failure, self.ended = error, True
            _logger.critical("the loop met a fault of its own and ended", exc_info=True)
            self._refuse_rest(inputs)
            self._on_failure(error)
        else:
            self.ended = True
            self._refuse_rest()

    def _take(self) -> tuple[list[Pending], bool]:
        """All that waits, and whether to go on."""
        taken: list[Pending] = []
        try:
            first = self._queue.get(timeout=self._until_tick_s())
            while first is not None and len(taken) < _MOST_INPUTS:
                taken.append(first)
                first = self._queue.get_nowait()
        except queue.Empty:
            return taken, True
        if first is not None:
            taken.append(first)
        return taken, first is not None

    def _refuse_rest(self, inputs: Sequence[Pending] = ()) -> None:
        away = Unreachable("the control plane has ended; see up.log, and start it again with `maillage up`")
        _answer_all(inputs, away)
        while True:
            try:
                pending = self._queue.get_nowait()
            except queue.Empty:
                return
            if pending is not None:
                pending.answer(away)
