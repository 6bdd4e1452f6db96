"""The engine's stream, turned into what the client asked for: a stream of its own, or one answer.

Both read the same chunks. What the gateway asked the engine for on its own account (`timings`, `usage`)
is taken out again unless the client had asked for it too.
"""

from __future__ import annotations

from typing import Any

import orjson

from maillage.serving.metering import TokenCount

DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"
EVENT_LIMIT_BYTES = 4 * 1024 * 1024  # one event of an engine's stream; more means it speaks no SSE

_OBJECTS = {"chat.completion.chunk": "chat.completion"}


class Lines:
    """Splits bytes as they come into the payloads of `data:` lines; the rest of SSE is not used here."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> list[bytes]:
        """Raises ValueError when a line grows beyond the limit."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        if len(self._rest) > EVENT_LIMIT_BYTES:
            raise ValueError("an event of the engine's stream is too large")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


class StreamedAnswer:
    """Chunks passed on as server-sent events, with one usage chunk at the end if the client wants it."""

    def __init__(self, count: TokenCount, *, with_usage: bool, with_timings: bool) -> None:
        self._count = count
        self._with_usage = with_usage
        self._with_timings = with_timings
        self._last: dict[str, Any] = {}

    def feed(self, chunk: dict[str, Any]) -> bytes:
        """What to send for this chunk, perhaps nothing."""
        usage = chunk.pop("usage", None)
        if not self._with_timings:
            chunk.pop("timings", None)
        self._last = chunk
        if usage and not chunk.get("choices"):
            return b""
        return b"data: " + orjson.dumps(chunk) + b"\n\n"

    def end(self) -> bytes:
        if not self._with_usage:
            return DONE_EVENT
        chunk = {**self._last, "choices": [], "usage": self._count.usage()}
        return b"data: " + orjson.dumps(chunk) + b"\n\n" + DONE_EVENT


class WholeAnswer:
    """Chunks folded into the one answer that a request without `stream` gets."""

    def __init__(self, count: TokenCount, *, with_timings: bool) -> None:
        self._count = count
        self._with_timings = with_timings
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def feed(self, chunk: dict[str, Any]) -> None:
        for piece in chunk.pop("choices", None) or ():
            index = piece.get("index", 0)
            choice = self._choices.setdefault(index, {"index": index})
            _fold_choice(choice, piece)
        self._top.update(chunk)

    def body(self) -> bytes:
        top = self._top
        if not self._with_timings:
            top.pop("timings", None)
        top["object"] = _OBJECTS.get(top.get("object", ""), top.get("object"))
        top["choices"] = [self._choices[index] for index in sorted(self._choices)]
        top["usage"] = self._count.usage()
        return orjson.dumps(top)


def _fold_choice(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """A chat's `delta` grows into `message`, a completion's `text` grows; the last finish reason holds."""
    for key, value in piece.items():
        if key == "delta":
            _fold_message(choice.setdefault("message", {"role": "assistant", "content": None}), value)
        elif key == "text":
            choice["text"] = choice.get("text", "") + value
        elif key == "logprobs" and isinstance(value, dict):
            logprobs = choice["logprobs"] = choice.get("logprobs") or {}
            for name, items in value.items():
                logprobs[name] = [*logprobs.get(name, ()), *(items or ())]
        elif value is not None or key not in choice:
            choice[key] = value


def _fold_message(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            calls = message.setdefault("tool_calls", [])
            for piece in value:
                _fold_call(calls, piece)
        elif key != "role" and isinstance(value, str):
            message[key] = (message.get(key) or "") + value
        elif value is not None or key not in message:
            message[key] = value


def _fold_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """A tool call comes in pieces by its `index`: its head first, then its arguments bit by bit."""
    index = piece.get("index", 0)
    while len(calls) <= index:
        calls.append({"function": {"arguments": ""}})
    call = calls[index]
    function = piece.get("function") or {}
    call.update({key: value for key, value in piece.items() if key not in ("index", "function")})
    call["function"]["arguments"] += function.get("arguments") or ""
    call["function"].update({key: value for key, value in function.items() if key != "arguments"})
