"""What a client asks for, read with bounds and checked as far as the gateway must understand it.

Everything the gateway does not need passes through to the engine unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson
from starlette.requests import Request

from maillage.serving.refusals import bad_request, too_large

Endpoint = Literal["chat/completions", "completions"]

# Read and thrown away beyond the limit, so that most clients finish sending and can read the refusal.
_DISCARD_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request. `engine_body` is what the replica gets: always a stream, with token counts."""

    endpoint: Endpoint
    model: str
    streamed: bool
    with_usage: bool
    with_timings: bool
    answers_per_prompt: int
    engine_body: bytes


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises a 413 refusal beyond the limit; ClientDisconnect when the client goes."""
    body = bytearray()
    size_bytes = 0
    async for piece in request.stream():
        size_bytes += len(piece)
        if size_bytes <= limit_bytes:
            body += piece
        elif size_bytes > limit_bytes * _DISCARD_FACTOR:
            break
    if size_bytes > limit_bytes:
        raise too_large(limit_bytes)
    return bytes(body)


def read_request(endpoint: Endpoint, raw: bytes) -> Asked:
    """Raises a 400 refusal that names the field at fault."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"The request body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise bad_request(f"The request body must be a JSON object, not {_kind(body)}")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise bad_request("`model` must be the name of an endpoint", param="model")
    _check_prompt(endpoint, body)
    streamed = _flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise bad_request(f"`stream_options` must be an object, not {_kind(options)}", param="stream_options")
    with_usage = streamed and _flag(options or {}, "include_usage", "stream_options.include_usage")
    with_timings = _flag(body, "timings_per_token")
    body["stream"] = True
    body["stream_options"] = {**(options or {}), "include_usage": True}
    body["timings_per_token"] = True
    return Asked(
        endpoint=endpoint,
        model=model,
        streamed=streamed,
        with_usage=with_usage,
        with_timings=with_timings,
        answers_per_prompt=_answers(body),
        engine_body=orjson.dumps(body),
    )


def _check_prompt(endpoint: Endpoint, body: dict[str, Any]) -> None:
    if endpoint == "chat/completions":
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise bad_request("`messages` must be a list with at least one message", param="messages")
        for number, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise bad_request(
                    f"`messages[{number}]` must be an object with a `role`", param=f"messages[{number}]"
                )
    elif not isinstance(body.get("prompt"), str | list) or not body["prompt"]:
        raise bad_request("`prompt` must be a text or a list, and not empty", param="prompt")


def _answers(body: dict[str, Any]) -> int:
    answers = body.get("n")
    if answers is None:
        return 1
    if not isinstance(answers, int) or isinstance(answers, bool) or answers < 1:
        raise bad_request("`n` must be a whole number of at least 1", param="n")
    return answers


def _flag(body: dict[str, Any], key: str, shown: str = "") -> bool:
    value = body.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise bad_request(f"`{shown or key}` must be true or false, not {_kind(value)}", param=shown or key)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
