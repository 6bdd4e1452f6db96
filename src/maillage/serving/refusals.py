"""What the gateway says when it cannot answer, in the shape the OpenAI clients read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from maillage.errors import NotAllowed, NotSignedIn, TooLarge, Unreachable, UserError

NO_REPLICA_READY = "no_replica_ready"
RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"


class Refusal(UserError):
    """An answer other than 200. `type` and `code` are OpenAI's words; `param` names the field at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(message)
        self.http_status = status
        self.type = type
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        error = {"message": str(self), "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})

    def headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if self.retry_after_s:
            headers["retry-after"] = str(self.retry_after_s)
        if self.http_status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.http_status == 413:
            headers["connection"] = "close"  # the rest of the body is not read
        return headers


def bad_request(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    return Refusal(400, message, param=param, code=code)


def unknown_model(name: str, known: Iterable[str]) -> Refusal:
    names = ", ".join(sorted(known)) or "none; deploy one with `maillage endpoint deploy FILE`"
    return Refusal(
        404,
        f"The model {name!r} does not exist or you have no access to it. Known models: {names}",
        code="model_not_found",
        param="model",
    )


def none_ready(name: str, replicas: int, retry_after_s: int) -> Refusal:
    state = f"none of its {replicas} replicas is ready" if replicas else "it has no replica yet"
    return Refusal(
        503,
        f"The model {name!r} cannot answer now: {state}. "
        f"Try again in {retry_after_s} s; `maillage endpoint show {name}` says why.",
        type="server_error",
        code=NO_REPLICA_READY,
        retry_after_s=retry_after_s,
    )


def all_full(name: str, replicas: int, limit: int) -> Refusal:
    return Refusal(
        429,
        f"The model {name!r} is full: each of its {replicas} ready replicas has {limit} requests under way. "
        "Try again in a moment.",
        type="requests",
        code=RATE_LIMIT_EXCEEDED,
        retry_after_s=1,
    )


def too_large(limit_bytes: int) -> Refusal:
    return Refusal(413, f"The request body is larger than {limit_bytes} bytes", code="request_too_large")


def upstream_lost(name: str, begun: bool) -> Refusal:
    when = "after the answer had begun" if begun else "before it answered"
    return Refusal(
        502,
        f"The replica of {name!r} was lost {when}; try again.",
        type="server_error",
        code="replica_lost",
        retry_after_s=1,
    )


def from_user_error(error: UserError) -> Refusal:
    """A refusal of the layers below, such as an unknown token, in OpenAI's words."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NotSignedIn):
        return Refusal(401, str(error), code="invalid_api_key")
    if isinstance(error, NotAllowed):
        return Refusal(403, str(error), type="permission_error", code="insufficient_permissions")
    if isinstance(error, TooLarge):
        return Refusal(413, str(error), code="request_too_large")
    if isinstance(error, Unreachable):
        return Refusal(503, str(error), type="server_error", code="unavailable", retry_after_s=1)
    return Refusal(error.http_status, str(error))


def from_engine(status: int, answer: bytes) -> Refusal:
    """What a replica's engine refused, passed on: its status, its message, OpenAI's words where they fit."""
    try:
        body: Any = orjson.loads(answer)
        error = body["error"]
        message, kind = str(error["message"]), str(error.get("type") or "")
    except (ValueError, TypeError, KeyError, AttributeError):
        message, kind = answer[:500].decode("utf-8", "replace") or f"the engine answered {status}", ""
    if kind == "exceed_context_size_error":
        return bad_request(message, code="context_length_exceeded")
    if status >= 500:
        return Refusal(status, message, type="server_error", code="engine_error")
    return Refusal(status, message)
