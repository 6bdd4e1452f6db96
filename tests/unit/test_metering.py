"""Tokens counted from an engine's chunks, whole or cut off, and where the counts go."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from maillage.control import service
from maillage.serving.counters import Counters, LoggedUsage
from maillage.serving.metering import Caller, Tally, TokenCount


def piece(index: int, predicted: int, cached: int = 3, read: int = 4) -> dict[str, Any]:
    return {
        "choices": [{"index": index, "delta": {"content": "x"}}],
        "timings": {"cache_n": cached, "prompt_n": read, "predicted_n": predicted},
    }


def usage(prompt: int, completion: int) -> dict[str, Any]:
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"choices": [], "usage": tokens | {"prompt_tokens_details": {"cached_tokens": 3}}}


ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}


def counted(*chunks: dict[str, Any], n: int = 1) -> tuple[int, int]:
    count = TokenCount(n)
    for chunk in chunks:
        count.feed(chunk)
    return count.prompt_tokens, count.completion_tokens


def test_the_role_is_no_token() -> None:
    assert counted(ROLE) == (0, 0)


def test_cut_off_it_counts_what_was_said_so_far() -> None:
    assert counted(ROLE, piece(0, 1), piece(0, 2), piece(0, 5)) == (7, 5)


def test_the_final_usage_has_the_last_word() -> None:
    """The token that ends an answer has no chunk of its own."""
    assert counted(ROLE, piece(0, 1), piece(0, 2), usage(7, 3)) == (7, 3)


def test_several_answers_to_one_prompt_count_it_once() -> None:
    chunks = [piece(0, 1), piece(1, 1), piece(0, 2), usage(7, 3), piece(1, 2), usage(7, 2)]
    assert counted(*chunks, n=2) == (7, 5)
    assert counted(*chunks[:3], n=2) == (7, 3)


def test_several_prompts_are_all_counted() -> None:
    ends = {"choices": [{"index": 0, "text": ""}], "usage": usage(7, 2)["usage"]}
    assert counted(piece(0, 1), piece(1, 1, read=6), ends, piece(1, 4, read=6)) == (7 + 9, 2 + 4)


def test_the_usage_object_keeps_the_engines_details() -> None:
    count = TokenCount()
    count.feed(usage(7, 3))
    assert count.usage() == usage(7, 3)["usage"]


def tally(status: int, completion: int) -> Tally:
    one = Tally("completions", Caller("ada", "org", "lab"), model="chat", site="paris", run_id="j1.1")
    one.status = status
    if completion:
        one.feed(piece(0, completion))
    return one


def test_counters_add_up_and_are_scraped() -> None:
    counters = Counters()
    for one in (tally(200, 5), tally(200, 6), tally(499, 2)):
        counters.record(one.usage())
    total = counters.totals()[("lab", "chat", "paris", 200)]
    assert (total.requests, total.prompt_tokens, total.completion_tokens) == (2, 14, 11)
    registry = CollectorRegistry()
    registry.register(counters)
    text = generate_latest(registry).decode()
    labels = '{model="chat",project="lab",site="paris",status="499"}'
    assert f"maillage_inference_completion_tokens_total{labels} 2.0" in text
    assert f"maillage_inference_requests_total{labels} 1.0" in text


def test_what_used_tokens_goes_into_the_log_once() -> None:
    logged: list[service.Usage] = []
    meter = LoggedUsage(logged.append)
    used = tally(499, 5).usage()
    meter.record(used)
    meter.record(tally(404, 0).usage())
    (entry,) = logged
    assert entry.request_id == used.request_id
    assert (entry.endpoint, entry.org, entry.project, entry.user) == ("chat", "org", "lab", "ada")
    assert (entry.prompt_tokens, entry.completion_tokens, entry.run_id) == (7, 5, "j1.1")


def test_the_first_token_is_timed_and_only_then() -> None:
    assert tally(499, 0).usage().first_token_s < 0
    used = tally(200, 1).usage()
    assert 0 <= used.first_token_s <= used.duration_s
