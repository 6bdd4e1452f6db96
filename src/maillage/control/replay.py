"""Replay: fold a log again, decide again, and compare with what was decided, byte for byte.

A `network` entry begins a new core: the log holds the network itself, so a log is enough to replay it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import TypeAdapter

from maillage.control import log
from maillage.control.log import Entry, decision_body, read_lines
from maillage.control.store import Store
from maillage.control.strictlog import body_of, entry_told, event_of, now_of, whole
from maillage.errors import Invalid, NotFound
from maillage.network.model import Network
from maillage.scheduling.messages import is_event
from maillage.scheduling.policy import Policy
from maillage.scheduling.scheduler import Scheduler

_NETWORK = TypeAdapter(Network)
_POLICY = TypeAdapter(Policy)
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first decision that came out otherwise."""

    offset: int
    logged: bytes
    replayed: bytes


@dataclass(frozen=True, slots=True)
class Replayed:
    entries: int
    decisions: int
    commands: int
    difference: Difference | None

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"entries": self.entries, "decisions": self.decisions}
        shown |= {"commands": self.commands, "same": self.difference is None, "difference": None}
        if self.difference is not None:
            shown["difference"] = {
                "offset": self.difference.offset,
                "logged": orjson.loads(self.difference.logged),
                "replayed": orjson.loads(self.difference.replayed),
            }
        return shown


def network_body(network: Network, policy: Policy) -> dict[str, Any]:
    """The body of a `network` entry."""
    return {
        "sites": [site.id for site in network.sites],
        "network": _NETWORK.dump_python(network, mode="json"),
        "policy": _POLICY.dump_python(policy, mode="json"),
    }


def core_of(body: dict[str, Any]) -> Scheduler:
    """An empty core as a `network` entry began it."""
    return Scheduler(_NETWORK.validate_python(body["network"]), _POLICY.validate_python(body["policy"]))


def replay(
    entries: Iterable[Entry],
    make_core: Callable[[dict[str, Any]], Scheduler] = core_of,
    name: str = "the log",
) -> Replayed:
    """Decide a log again, up to the first difference.

    Raises Invalid for a log that is not whole from its beginning, or with an entry that cannot be read;
    `name` is what messages call the log.
    """
    core: Scheduler | None = None
    folded = decisions = commands = 0
    for entry in whole(entries, name):
        folded += 1
        with entry_told(entry.offset, name):
            body = body_of(entry)
            if entry.kind == log.NETWORK:
                core = make_core(body)
            elif core is None:
                raise Invalid(f"a log begins with a network, not with {entry.kind}")
            elif is_event(entry.kind):
                core.fold(event_of(entry))
            elif entry.kind == log.DECISION:
                now_s = now_of(body)
                decided = core.decide(now_s)
                decisions, commands = decisions + 1, commands + len(decided)
                again = decision_body(now_s, decided)
                if again != entry.body:
                    return Replayed(folded, decisions, commands, Difference(entry.offset, entry.body, again))
    return Replayed(folded, decisions, commands, None)


def replay_file(path: Path) -> Replayed:
    """Replay a store's file, which is only read, or an exported log (JSONL)."""
    if not path.exists():
        raise NotFound(f"no log at {path}; give a data folder's maillage.db, or an exported log")
    try:
        with path.open("rb") as file:
            is_store = file.read(len(_SQLITE)) == _SQLITE
        return _replay_store(path) if is_store else replay(read_lines(path), name=path.name)
    except OSError as error:
        raise NotFound(f"{path} cannot be read ({error.strerror})") from None


def _replay_store(path: Path) -> Replayed:
    try:
        store = Store.open_to_read(path)
        try:
            return replay(store.entries(), name=path.name)
        finally:
            store.close()
    except sa.exc.DatabaseError as error:
        raise Invalid(
            f"{path} is damaged, its log cannot be read ({error.orig}): replay a backup of it"
        ) from error
