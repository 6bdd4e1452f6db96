"""What goes out: JSON by orjson, and every trouble in one shape."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import Request, WebSocket
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.websockets import WebSocketState

from maillage.control.views import instant
from maillage.errors import Invalid, NotFound, NotSignedIn, Problem, Problems, Unreachable, UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Json = dict[str, Any]

_CODES = {401: "NotSignedIn", 403: "NotAllowed", 404: "NotFound", 405: "NotAllowed", 413: "TooLarge"}
_RETRY_AFTER_S = "1"


def json_bytes(content: Any) -> bytes:
    """Keys may be enums, and values dataclasses, datetimes or NumPy's numbers."""
    return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)


class JsonAnswer(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json_bytes(content)


def told(record: DataclassInstance) -> Json:
    """A record as people read it: instants in ISO 8601, null for never.

    >>> from maillage.access.people import Project
    >>> told(Project("vision", "lab", 1_700_000_000_123))
    {'project': 'vision', 'org': 'lab', 'made_at': '2023-11-14T22:13:20.123Z'}
    """
    return {
        key.removesuffix("_ms"): instant(value) if key.endswith("_at_ms") else value
        for key, value in asdict(record).items()
    }


def error_body(error: UserError) -> Json:
    """`{"error": {"code", "message", "problems": [...]}}`; the code is the error's class."""
    problems = error.problems if isinstance(error, Problems) else ()
    return {
        "error": {
            "code": type(error).__name__,
            "message": str(error),
            "problems": [_problem(problem) for problem in problems],
        }
    }


def error_answer(error: UserError) -> Response:
    headers = {}
    if isinstance(error, NotSignedIn):
        headers["WWW-Authenticate"] = 'Bearer realm="maillage"'
    if isinstance(error, Unreachable):
        headers["Retry-After"] = _RETRY_AFTER_S
    return JsonAnswer(error_body(error), status_code=error.http_status, headers=headers)


async def on_user_error(connection: Request | WebSocket, error: Exception) -> Any:
    """The answer. A websocket is answered here, refused or closed with its words: then None."""
    assert isinstance(error, UserError)
    answer = error_answer(error)
    if isinstance(connection, WebSocket):
        if connection.application_state is WebSocketState.CONNECTING:
            await connection.send_denial_response(answer)
        elif connection.application_state is WebSocketState.CONNECTED:
            await connection.close(code=1011, reason=str(error)[:120])
        return None  # it is answered: the framework would send a second one
    return answer


async def on_store_trouble(_: Request, error: Exception) -> Response:
    """The database cannot be written now: a full disk mostly, or a server that is away."""
    assert isinstance(error, OperationalError)
    return error_answer(
        Unreachable(
            f"the network's database does not take this ({error.orig}); nothing of this request was kept. "
            "Make room on the disk of the data folder (or mend the database) and send it again"
        )
    )


async def on_bad_request(_: Request, error: Exception) -> Response:
    """Every field that the edge refused, at once."""
    assert isinstance(error, RequestValidationError)
    problems = [_refused(item) for item in error.errors()]
    return error_answer(Problems(problems) if problems else Invalid("the request cannot be read"))


def _refused(item: dict[str, Any]) -> Problem:
    if item["type"] == "json_invalid":
        what = f"not JSON in UTF-8: {item['ctx']['error']}, at character {item['loc'][-1]}"
        return Problem("", what, "escape text as JSON does; numbers are finite", source="request")
    return Problem(where=_path(tuple(item["loc"])), what=str(item["msg"]), source="request")


async def on_http_error(request: Request, error: Exception) -> Response:
    """Refusals of the framework itself: no such route, no such method."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, UserError):
        return error_answer(error.__cause__)  # ours, met while the framework read the body
    message = str(error.detail)
    if error.status_code == NotFound.http_status:
        message = f"there is nothing at {request.url.path}: see /openapi.json"
    code = _CODES.get(error.status_code, "Invalid")
    body = {"error": {"code": code, "message": message, "problems": []}}
    return JsonAnswer(body, status_code=error.status_code, headers=error.headers)


def _problem(problem: Problem) -> Json:
    return {
        "where": problem.where,
        "what": problem.what,
        "mend": problem.mend,
        "line": problem.line,
        "source": problem.source,
    }


def _path(location: tuple[int | str, ...]) -> str:
    """`("body", "jobs", 0, "spec")` as `jobs[0].spec`.

    >>> _path(("body", "jobs", 0, "spec"))
    'jobs[0].spec'
    """
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
