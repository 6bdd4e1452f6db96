"""Reading a log that anybody may have touched: it is whole, in order, and every entry can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from math import isfinite
from typing import Any

from pydantic import TypeAdapter, ValidationError

from maillage.control import log
from maillage.control.log import Entry, event_body
from maillage.errors import Invalid, UserError
from maillage.scheduling.messages import Event, event_from_json, is_event

COUNT_LAST = 2**31 - 1  # counts and node numbers are 32 bits wide in the core
SECONDS_LAST = 2**53 - 1
_SIGNED = ("priority",)
# What reading a strange value, or folding it, can raise; a fault of the log, not of ours.
_UNREADABLE = (UserError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError)


@contextmanager
def entry_told(number: int, name: str) -> Iterator[None]:
    """What cannot be read becomes Invalid, with the entry's number in the log `name`."""
    try:
        yield
    except _UNREADABLE as error:
        raise Invalid(f"entry {number} of {name} cannot be read: {_words(error)}") from error


def _words(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing or not known"
    return str(error) or type(error).__name__


def whole(entries: Iterable[Entry], name: str) -> Iterator[Entry]:
    """The entries of a log that begins at its beginning and lacks nothing between. Raises Invalid."""
    number, at_ms = 0, 0
    try:
        for number, entry in enumerate(entries, 1):
            with entry_told(number, name):
                _check_place(entry, number, at_ms)
            at_ms = entry.at_ms
            yield entry
    except TypeError as error:  # the store makes no entry of a row with the wrong types
        raise Invalid(f"entry {number + 1} of {name} cannot be read: {error}") from error
    if not number:
        raise Invalid(f"{name} holds no entries: there is nothing to replay")


def _check_place(entry: Entry, number: int, at_ms: int) -> None:
    if type(entry.offset) is not int or type(entry.at_ms) is not int:
        raise Invalid("its offset and at_ms must be whole numbers")
    if entry.offset != number:
        raise Invalid(f"its offset is {entry.offset}, not {number}: entries are missing, or stand elsewhere")
    if not at_ms <= entry.at_ms <= SECONDS_LAST:
        raise Invalid(f"its at_ms, {entry.at_ms}, goes back from {at_ms}")
    if not (isinstance(entry.kind, str) and isinstance(entry.job_id, str)):
        raise Invalid("its kind and job_id must be text")
    if not (is_event(entry.kind) or entry.kind in log.KINDS):
        raise Invalid(f"no kind {entry.kind!r} is known")


def body_of(entry: Entry) -> dict[str, Any]:
    body: Any = entry.read()
    if not isinstance(body, dict):
        raise Invalid(f"its body is no object: {entry.body[:40].decode('utf-8', 'replace')}")
    return body


def event_of(entry: Entry) -> Event:
    """The event of an entry, every field of its own type and range."""
    event = event_from_json({"kind": entry.kind} | body_of(entry))
    cls: Any = type(event)
    _adapter(cls).validate_json(event_body(event), strict=True)
    for field in fields(cls):
        _check_range(field.name, getattr(event, field.name))
    return event


def now_of(body: dict[str, Any]) -> int:
    """The instant of a decision's body."""
    now_s = body["now_s"]
    if type(now_s) is not int:
        raise Invalid(f"now_s is no whole number: {now_s!r}")
    _check_range("now_s", now_s)
    return now_s


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def _check_range(name: str, value: Any) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_range(name, item)
    elif isinstance(value, float) and not isfinite(value):
        raise Invalid(f"{name} is {value}")
    elif isinstance(value, int):
        last = SECONDS_LAST if name.endswith("_s") else COUNT_LAST
        first = -last if name in _SIGNED else 0
        if not first <= value <= last:
            raise Invalid(f"{name} is {value}; from {first} to {last} is possible")
