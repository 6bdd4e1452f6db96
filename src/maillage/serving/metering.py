"""Tokens by request, counted as the engine counts them, also when the client hangs up.

Every answer is streamed from the engine, whatever the client asked for, because only a stream says how
many tokens there are before the end. llama.cpp tells it in each chunk (`timings`, asked for by
`timings_per_token`) and at the end (`usage`). A request with several answers (`n`, or several prompts)
is counted answer by answer: llama.cpp sends one usage for each of them.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

HUNG_UP = 499  # nginx's number for a client that closed the connection before the answer was whole


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `project` (of `org`) pays; `projects` are those whose endpoints may be used, None for all."""

    user: str = ""
    org: str = ""
    project: str = ""
    projects: set[str] | None = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request used. `status` is the HTTP status answered, 499 when the client hung up, 502 when
    the replica was lost on the way; `endpoint` is the API's (`chat/completions`), `model` the name asked
    for, "" where there is none of that name. `at_ms` is Unix time; `first_token_s` is below 0 when no
    token came."""

    request_id: str
    user: str
    org: str
    project: str
    model: str
    endpoint: str
    status: int
    site: str
    run_id: str
    prompt_tokens: int
    completion_tokens: int
    streamed: bool
    at_ms: int
    first_token_s: float
    duration_s: float


class Meter(Protocol):
    """Takes each request's usage once, when it is over. Called on the event loop: it must not block."""

    def record(self, usage: Usage) -> None: ...


@dataclass(slots=True)
class TokenCount:
    """Tokens of one request so far, fed with the engine's chunks in order.

    `answers_per_prompt` is the request's `n`: a prompt is counted once, however many answers it gets.
    """

    answers_per_prompt: int = 1
    _completion: dict[int, int] = field(default_factory=dict)
    _prompt: dict[int, int] = field(default_factory=dict)
    _details: list[dict[str, Any]] = field(default_factory=list)
    _index: int = 0

    def feed(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices") or ()
        if choices:
            self._index = choices[0].get("index", 0)
        timings = chunk.get("timings")
        if timings:
            self._set(timings.get("cache_n", 0) + timings.get("prompt_n", 0), timings.get("predicted_n", 0))
        usage = chunk.get("usage")
        if usage:  # an answer's usage comes with its last chunk or right after it
            self._set(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
            self._details.append(usage)

    def _set(self, prompt_tokens: int, completion_tokens: int) -> None:
        self._prompt[self._index // self.answers_per_prompt] = prompt_tokens
        self._completion[self._index] = completion_tokens

    @property
    def prompt_tokens(self) -> int:
        return sum(self._prompt.values())

    @property
    def completion_tokens(self) -> int:
        return sum(self._completion.values())

    def usage(self) -> dict[str, Any]:
        """OpenAI's `usage` object for all answers together."""
        details = self._details[0] if len(self._details) == 1 else {}
        return {
            **details,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(slots=True)
class Tally:
    """What is known so far of one request under way; `usage` is its record when it is over."""

    endpoint: str
    caller: Caller = field(default_factory=Caller)
    model: str = ""
    streamed: bool = False
    count: TokenCount = field(default_factory=TokenCount)
    site: str = ""
    run_id: str = ""
    status: int = HUNG_UP  # until there is an answer
    request_id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    _at_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    _begun_s: float = field(default_factory=time.perf_counter)
    _first_token_s: float = -1.0

    def feed(self, chunk: dict[str, Any]) -> None:
        self.count.feed(chunk)
        if self._first_token_s < 0 and self.count.completion_tokens:
            self._first_token_s = time.perf_counter() - self._begun_s

    def headers(self) -> dict[str, str]:
        """Where the answer comes from, for people who look."""
        headers = {"x-request-id": self.request_id}
        if self.run_id:
            headers |= {"x-maillage-site": self.site, "x-maillage-run": self.run_id}
        return headers

    def usage(self) -> Usage:
        return Usage(
            request_id=self.request_id,
            user=self.caller.user,
            org=self.caller.org,
            project=self.caller.project,
            model=self.model,
            endpoint=self.endpoint,
            status=self.status,
            site=self.site,
            run_id=self.run_id,
            prompt_tokens=self.count.prompt_tokens,
            completion_tokens=self.count.completion_tokens,
            streamed=self.streamed,
            at_ms=self._at_ms,
            first_token_s=self._first_token_s,
            duration_s=time.perf_counter() - self._begun_s,
        )
