"""The engine's chunks passed on or folded; what is taken out and what is kept."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from maillage.errors import Invalid, NotAllowed, NotSignedIn, Unreachable
from maillage.serving.answers import EVENT_LIMIT_BYTES, Lines, StreamedAnswer, WholeAnswer
from maillage.serving.metering import TokenCount
from maillage.serving.refusals import Refusal, from_engine, from_user_error
from maillage.serving.requests import read_request

TIMINGS = {"cache_n": 0, "prompt_n": 4, "predicted_n": 1}


def chat(delta: dict[str, Any], index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return {"id": "1", "object": "chat.completion.chunk", "choices": [choice], "timings": dict(TIMINGS)}


def folded(*chunks: dict[str, Any], with_timings: bool = False) -> dict[str, Any]:
    count = TokenCount()
    answer = WholeAnswer(count, with_timings=with_timings)
    for chunk in chunks:
        count.feed(chunk)
        answer.feed(chunk)
    body: dict[str, Any] = json.loads(answer.body())
    return body


def test_bytes_in_any_pieces_are_the_same_events() -> None:
    stream = b'data: {"a": 1}\n\n: a comment\ndata: {"b": 2}\r\n\r\ndata: [DONE]\n\n'
    whole = Lines().feed(stream)
    lines = Lines()
    assert whole == [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]
    assert [data for byte in stream for data in lines.feed(bytes([byte]))] == whole


def test_an_endless_event_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        Lines().feed(b"data: " + b"x" * EVENT_LIMIT_BYTES)


def test_a_chat_is_folded_into_one_message() -> None:
    body = folded(
        chat({"role": "assistant", "content": None}),
        chat({"reasoning_content": "hm"}),
        chat({"content": "Bon"}),
        chat({"content": "jour"}, finish="stop"),
    )
    (choice,) = body["choices"]
    assert body["object"] == "chat.completion" and "timings" not in body
    assert choice["message"] == {"role": "assistant", "content": "Bonjour", "reasoning_content": "hm"}
    assert choice["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    def call(index: int, **pieces: Any) -> dict[str, Any]:
        return chat({"tool_calls": [{"index": index, **pieces}]})

    body = folded(
        chat({"role": "assistant", "content": None}),
        call(0, id="a", type="function", function={"name": "city", "arguments": "{"}),
        call(0, function={"arguments": '"x": 1}'}),
        call(1, id="b", type="function", function={"name": "land", "arguments": "{}"}),
        chat({}, finish="tool_calls"),
    )
    (choice,) = body["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "city", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "function", "function": {"name": "land", "arguments": "{}"}},
    ]


def test_choices_are_sorted_and_their_logprobs_joined() -> None:
    body = folded(
        chat({"content": "b"}, index=1, logprobs={"content": [2]}),
        chat({"content": "a"}, index=0, logprobs={"content": [1]}),
        chat({"content": "c"}, index=1, logprobs={"content": [3]}),
        chat({}, index=1, finish="length", logprobs=None),
        with_timings=True,
    )
    assert [choice["message"]["content"] for choice in body["choices"]] == ["a", "bc"]
    assert body["choices"][1]["logprobs"] == {"content": [2, 3]}
    assert body["timings"] == TIMINGS


@pytest.mark.parametrize("with_usage", [True, False])
def test_the_usage_chunk_goes_to_those_who_asked(with_usage: bool) -> None:
    count = TokenCount()
    answer = StreamedAnswer(count, with_usage=with_usage, with_timings=False)
    sent = b""
    last = {"id": "1", "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}
    for chunk in (chat({"content": "a"}), last):
        count.feed(chunk)
        sent += answer.feed(chunk)
    sent += answer.end()
    *events, done, rest = sent.split(b"\n\n")
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert (done, rest) == (b"data: [DONE]", b"")
    assert "timings" not in chunks[0] and "usage" not in chunks[0]
    usages = [chunk["usage"] for chunk in chunks[1:]]
    assert usages == [{"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}] * with_usage


def test_what_the_gateway_needs_is_added_and_the_rest_passes_through() -> None:
    asked = read_request("completions", b'{"model": "m", "prompt": "x", "top_k": 3, "extra": {"a": [1]}}')
    assert (asked.model, asked.streamed, asked.with_usage, asked.answers_per_prompt) == ("m", False, False, 1)
    assert orjson.loads(asked.engine_body) == {
        "model": "m",
        "prompt": "x",
        "top_k": 3,
        "extra": {"a": [1]},
        "stream": True,
        "stream_options": {"include_usage": True},
        "timings_per_token": True,
    }


def test_what_the_client_asked_of_the_stream_is_kept() -> None:
    body = {"model": "m", "prompt": "x", "stream": True, "n": 2, "timings_per_token": True}
    body["stream_options"] = {"include_usage": True, "other": 1}
    asked = read_request("completions", orjson.dumps(body))
    assert (asked.streamed, asked.with_usage, asked.with_timings, asked.answers_per_prompt) == (
        True,
        True,
        True,
        2,
    )
    assert orjson.loads(asked.engine_body)["stream_options"] == {"include_usage": True, "other": 1}


def test_refusals_speak_openai() -> None:
    assert (from_user_error(NotSignedIn("x")).http_status, from_user_error(NotSignedIn("x")).code) == (
        401,
        "invalid_api_key",
    )
    assert from_user_error(NotAllowed("x")).http_status == 403
    assert from_user_error(Unreachable("x")).headers()["retry-after"]
    assert from_user_error(Invalid("x")).http_status == 422
    same = Refusal(429, "x")
    assert from_user_error(same) is same
    assert json.loads(same.body()) == {
        "error": {"message": "x", "type": "invalid_request_error", "param": None, "code": None}
    }


@pytest.mark.parametrize(
    ("status", "answer", "code", "message"),
    [
        (
            400,
            b'{"error": {"message": "long", "type": "exceed_context_size_error"}}',
            "context_length_exceeded",
            "long",
        ),
        (400, b'{"error": {"message": "no", "type": "invalid_request_error"}}', None, "no"),
        (500, b'{"error": "text only"}', "engine_error", '{"error": "text only"}'),
        (500, b"", "engine_error", "the engine answered 500"),
        (404, b"\xff", None, "�"),
    ],
)
def test_an_engines_refusal_is_passed_on(status: int, answer: bytes, code: str | None, message: str) -> None:
    refusal = from_engine(status, answer)
    assert (refusal.http_status, refusal.code, str(refusal)) == (status, code, message)
