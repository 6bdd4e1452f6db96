"""What goes over the line, without the line: calls, answers, and the troubles they may hold.

An operation is written once, as a generator: it yields a `Call` (and gets its `Answer`) or a
`Pause` (seconds), and returns its result. The two clients drive the same generators,
one by blocking and one by awaiting.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from maillage import errors
from maillage.errors import Problem, Problems, UserError

PREFIX = "/api/v1"
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. `repeatable`: sending it twice does no more than sending it once."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    content: Any = None  # bytes or a path to a file, sent as an octet stream
    repeatable: bool = False
    missing_is_fine: bool = False
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back with a status below 400, or 404 where a call says that missing is fine."""

    status: int
    content: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.content) if self.content else None
        except ValueError:
            raise errors.Unreachable(
                "the answer is not JSON: is this address really a maillage network?"
            ) from None


T = TypeVar("T")
Plan = Generator[Call | Pause, Answer, T]


class NotSent(errors.Unreachable):
    """Nobody listens there: the request never left, so that even an unrepeatable one may go again."""


def send(call: Call, patience_s: float) -> Plan[Answer]:
    """One call, again while the line is bad: when nothing was sent, or when twice is no more than once.

    Pauses double from 0.1 s to 2 s; after `patience_s` of them the trouble is raised.
    """
    waited_s, pause_s = 0.0, FIRST_PAUSE_S
    while True:
        try:
            return (yield call)
        except errors.Unreachable as trouble:
            if waited_s >= patience_s or not (call.repeatable or isinstance(trouble, NotSent)):
                raise
        yield Pause(pause_s)
        waited_s += pause_s
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def get(path: str, **params: Any) -> Call:
    return Call("GET", path, params=given(params), repeatable=True)


def post(path: str, body: Any = None, *, repeatable: bool = False) -> Call:
    return Call("POST", path, body={} if body is None else body, repeatable=repeatable)


def delete(path: str) -> Call:
    return Call("DELETE", path)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not None; booleans as the API writes them."""
    return {
        key: str(value).lower() if isinstance(value, bool) else value
        for key, value in values.items()
        if value is not None
    }


def segment(text: str) -> str:
    """A name as one segment of a path."""
    if not text or text in (".", ".."):
        raise errors.Invalid(f"{text!r} is no name or id")
    return quote(text, safe="")


def nobody_answers(url: str, cause: str) -> NotSent:
    return NotSent(
        f"no network answers at {url} ({cause})\n"
        "Is it up? `maillage status` tells; `maillage up` starts one on this machine."
    )


def headers_of(token: str) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": "maillage"}
    return headers | {"Authorization": f"Bearer {token}"} if token else headers


def request_target(call: Call) -> str:
    """The path below the server's root; paths that name `/v1` or the root stand as they are."""
    return call.path if call.path.startswith(("/v1/", "/healthz", "/api/")) else PREFIX + call.path


_BY_STATUS: dict[int, type[UserError]] = {
    400: errors.Invalid,
    401: errors.NotSignedIn,
    403: errors.NotAllowed,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.Invalid,
    429: errors.Conflict,
    502: errors.Unreachable,
    503: errors.Unreachable,
    504: errors.TimedOut,
}


def trouble_of(status: int, content: bytes, url: str) -> UserError:
    """The error class that an answer stands for, with its message and every problem."""
    error = _error_body(content)
    message = str(error.get("message") or "") or _plain(status, content, url)
    kind = _BY_STATUS.get(status, UserError)
    problems = tuple(_problem(item) for item in error.get("problems") or () if isinstance(item, dict))
    if problems and kind is errors.Invalid:
        return Problems(problems)
    if status == 401:
        message += "\nGive a token with `maillage login URL` or MAILLAGE_TOKEN."
    return kind("\n".join([message, *map(str, problems)]) if problems else message)


def _error_body(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _problem(item: Mapping[str, Any]) -> Problem:
    return Problem(
        where=str(item.get("where") or ""),
        what=str(item.get("what") or ""),
        mend=str(item.get("mend") or ""),
        line=int(item.get("line") or 0),
        source=str(item.get("source") or ""),
    )


def _plain(status: int, content: bytes, url: str) -> str:
    text = content[:300].decode("utf-8", "replace").strip()
    return f"{url} answered {status}" + (f": {text}" if text and not text.startswith("<") else "")
