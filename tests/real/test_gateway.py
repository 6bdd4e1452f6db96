"""The gateway before two real replicas of a real model, driven by the official client, unchanged.

What is recorded is compared with the engine's own counters.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from maillage.control.service import Replica
from tests.real.gateway_rig import TOKEN, Here, Process, serving, start_replica, wait_until

QUESTION = [{"role": "user", "content": "Tell me about Paris."}]


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Process]]:
    folder = tmp_path_factory.mktemp("replicas")
    started = (
        start_replica("jaaaaaaaaaaaaa.1", "paris", folder / "a"),
        start_replica("jbbbbbbbbbbbbb.1", "marseille", folder / "b"),
    )
    try:
        wait_until(lambda: all(replica.file.exists() for replica in started))
        yield started
    finally:
        for replica in started:
            replica.process.kill()
            replica.process.wait()


@pytest.fixture
def here(replicas: tuple[Process, Process]) -> Here:
    up = tuple(Replica(one.run_id, one.site, one.address, ready=True) for one in replicas)
    return Here({"chat": up, "cold": (Replica("jc.1", "paris", "", ready=False),), "empty": ()})


@pytest.fixture
def url(here: Here) -> Iterator[str]:
    with serving(here) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0) as client:
        yield client


def tokens(replicas: tuple[Process, ...]) -> tuple[int, int]:
    counts = [replica.tokens() for replica in replicas]
    return sum(count[0] for count in counts), sum(count[1] for count in counts)


def test_a_whole_answer_names_its_replica_and_adds_up(client: openai.OpenAI, here: Here, replicas) -> None:
    before = tokens(replicas)
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=QUESTION, max_tokens=12)
    answer = raw.parse()
    assert answer.object == "chat.completion" and answer.model == "chat"
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12
    assert not answer.model_extra.get("timings")
    (used,) = here.last()
    assert (used.model, used.endpoint, used.project, used.user) == ("chat", "chat/completions", "lab", "ada")
    assert (used.status, used.streamed, used.request_id) == (200, False, raw.headers["x-request-id"])
    assert (used.site, used.run_id) == (raw.headers["x-maillage-site"], raw.headers["x-maillage-run"])
    assert (used.prompt_tokens, used.completion_tokens) == (answer.usage.prompt_tokens, 12)
    after = tokens(replicas)
    assert (after[0] - before[0], after[1] - before[1]) == (used.prompt_tokens, 12)


@pytest.mark.parametrize("with_usage", [True, False])
def test_a_streamed_answer(client: openai.OpenAI, here: Here, with_usage: bool) -> None:
    options = {"include_usage": True} if with_usage else openai.NOT_GIVEN
    chunks = list(
        client.chat.completions.create(
            model="chat", messages=QUESTION, max_tokens=9, stream=True, stream_options=options, seed=7
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert text and len(usages) == with_usage
    assert not any("timings" in (chunk.model_extra or {}) for chunk in chunks)
    (used,) = here.last()
    assert (used.status, used.streamed, used.completion_tokens) == (200, True, 9)
    assert 0 < used.first_token_s < used.duration_s
    if with_usage:
        assert chunks[-1].choices == []
        assert (usages[0].prompt_tokens, usages[0].completion_tokens) == (used.prompt_tokens, 9)


def test_streamed_and_whole_say_the_same(client: openai.OpenAI) -> None:
    asked = {"model": "chat", "messages": QUESTION, "max_tokens": 30, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    pieces = client.chat.completions.create(**asked, stream=True)
    assert (
        "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].message.content
    )


def test_text_completions(client: openai.OpenAI, here: Here) -> None:
    whole = client.completions.create(
        model="chat", prompt="The capital of France is", max_tokens=5, temperature=0
    )
    assert whole.object == "text_completion" and whole.usage.completion_tokens == 5
    pieces = list(
        client.completions.create(
            model="chat",
            prompt="The capital of France is",
            max_tokens=5,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == whole.choices[0].text
    assert [piece.usage.completion_tokens for piece in pieces if piece.usage] == [5]
    assert [used.endpoint for used in here.last(2)] == ["completions"] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_and_prompts_are_all_counted(
    client: openai.OpenAI, here: Here, replicas, stream
) -> None:
    before = tokens(replicas)
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    chat = client.chat.completions.create(model="chat", messages=QUESTION, max_tokens=4, n=2, **options)
    texts = client.completions.create(
        model="chat", prompt=["Paris is", "Rome is in"], max_tokens=3, **options
    )
    chat_usage = [one.usage for one in chat if one.usage] if stream else [chat.usage]
    text_usage = [one.usage for one in texts if one.usage] if stream else [texts.usage]
    assert [usage.completion_tokens for usage in chat_usage + text_usage] == [8, 6]
    if not stream:
        assert [choice.index for choice in chat.choices + texts.choices] == [0, 1, 0, 1]
        assert all(choice.message.content for choice in chat.choices)
    used = sorted(here.last(2), key=lambda one: one.endpoint)  # the two streams were open together
    assert [one.completion_tokens for one in used] == [8, 6]
    assert [one.prompt_tokens for one in used] == [chat_usage[0].prompt_tokens, text_usage[0].prompt_tokens]
    assert tokens(replicas)[1] - before[1] == 14


def test_unknown_parameters_reach_the_engine(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="chat",
        prompt="Answer:",
        max_tokens=8,
        extra_body={"grammar": 'root ::= "oui"', "timings_per_token": True},
    )
    assert answer.choices[0].text == "oui"
    assert answer.model_extra["timings"]["predicted_n"] >= 1


def test_logprobs_survive_the_fold(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat", messages=QUESTION, max_tokens=3, logprobs=True, top_logprobs=2
    )
    assert [len(token.top_logprobs) for token in answer.choices[0].logprobs.content] == [2, 2, 2]


async def test_the_async_client_streams_from_both_sites_at_once(url: str, here: Here) -> None:
    async def ask(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(
            model="chat", messages=QUESTION, max_tokens=10, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async with openai.AsyncOpenAI(base_url=url, api_key=TOKEN, max_retries=0) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(6)))
    assert all(answers)
    used = here.last(6)
    assert {one.site for one in used} == {"paris", "marseille"}
    assert [one.completion_tokens for one in used] == [10] * 6


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["chat", "cold", "empty"]
    assert client.models.retrieve("chat").object == "model"
    with pytest.raises(openai.NotFoundError, match="Known models: chat, cold, empty"):
        client.models.retrieve("nope")


def test_a_hang_up_stops_the_engine_and_is_metered(client: openai.OpenAI, here: Here, replicas) -> None:
    before = tokens(replicas)
    with client.chat.completions.create(
        model="chat", messages=QUESTION, max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
    ) as stream:
        seen = 0
        for chunk in stream:
            seen += bool(chunk.choices and chunk.choices[0].delta.content)
            if seen == 5:
                break
    (used,) = here.last()
    wait_until(lambda: not any(replica.busy() for replica in replicas))
    made = tokens(replicas)
    assert used.status == 499 and used.run_id
    assert 5 <= used.completion_tokens < 1500
    assert made[0] - before[0] == used.prompt_tokens
    # The engine notices at its next write: what it made by then and sent to nobody is not charged.
    assert used.completion_tokens <= made[1] - before[1] < 1500


def test_a_hang_up_while_waiting_for_a_whole_answer(url: str, here: Here, replicas) -> None:
    body = {"model": "chat", "messages": QUESTION, "max_tokens": 1500, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=1.0)
    (used,) = here.last()
    wait_until(lambda: not any(replica.busy() for replica in replicas))
    assert used.status == 499 and used.completion_tokens > 0 and used.prompt_tokens > 0


def test_errors_have_the_shape_that_clients_read(url: str, client: openai.OpenAI, here: Here) -> None:
    with pytest.raises(openai.NotFoundError, match="Known models: chat, cold, empty") as unknown:
        client.chat.completions.create(model="no-such", messages=QUESTION)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert here.last()[0].model == ""
    for name in ("cold", "empty"):
        with pytest.raises(openai.InternalServerError) as cold:
            client.chat.completions.create(model=name, messages=QUESTION)
        assert cold.value.status_code == 503 and cold.value.code == "no_replica_ready"
        assert int(cold.value.response.headers["retry-after"]) >= 1
    with pytest.raises(openai.AuthenticationError, match="maillage token create") as stranger:
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).models.list()
    assert stranger.value.code == "invalid_api_key"
    with pytest.raises(openai.PermissionDeniedError, match="no member"):
        openai.OpenAI(base_url=url, api_key=TOKEN, project="other", max_retries=0).models.list()
    with pytest.raises(openai.BadRequestError, match="context") as long:
        client.completions.create(model="chat", prompt="word " * 5000)
    assert long.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"chat"',
        b"\xff\xfe",
        b"[" * 5000,
        b'{"messages": []}',
        b'{"model": 5, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "chat"}',
        b'{"model": "chat", "messages": "x"}',
        b'{"model": "chat", "messages": [1]}',
        b'{"model": "chat", "messages": [{"content": "x"}]}',
        b'{"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream": "yes"}',
        b'{"model": "chat", "messages": [{"role": "user", "content": "x"}], "stream_options": 1}',
        b'{"model": "chat", "messages": [{"role": "user", "content": "x"}], "n": 0}',
        b'{"model": "chat", "messages": [{"role": "user", "content": "x"}], "max_tokens": "many"}',
        b'{"model": "chat", "messages": [{"role": "user", "content": {"a": 1}}]}',
    ],
)
def test_garbage_is_refused_with_400(url: str, body: bytes) -> None:
    answer = httpx.post(f"{url}/chat/completions", content=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("size_bytes", [100_001, 3_000_000])
def test_a_huge_body_is_refused(url: str, size_bytes: int) -> None:
    answer = httpx.post(
        f"{url}/completions",
        content=(b"x" * 1000 for _ in range(size_bytes // 1000 + 1)),
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert answer.status_code == 413 and "100000" in answer.json()["error"]["message"]


def test_no_token_is_refused_before_the_body_is_read(url: str) -> None:
    answer = httpx.post(f"{url}/chat/completions", content=b"{")
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_the_other_replica_answers_when_one_is_killed(here: Here, tmp_path: Path, replicas) -> None:
    """Killed with an answer under way: that stream ends with an error; everything after it is answered."""
    doomed = start_replica("j0000000000000.1", "mulhouse", tmp_path / "doomed")
    try:
        wait_until(doomed.file.exists)
        standing = Replica(replicas[0].run_id, "paris", replicas[0].address, ready=True)
        here.known["chat"] = (Replica(doomed.run_id, doomed.site, doomed.address, ready=True), standing)
        with serving(here) as url:
            client = openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0)
            stream = client.chat.completions.create(
                model="chat", messages=QUESTION, max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
            )
            with pytest.raises(openai.APIError, match="lost after the answer had begun"):
                for number, _ in enumerate(stream):
                    if number == 3:
                        os.kill(doomed.process.pid, signal.SIGKILL)
            (lost,) = here.last()
            assert (lost.status, lost.run_id) == (502, doomed.run_id) and lost.completion_tokens >= 3
            for _ in range(3):
                answer = client.chat.completions.with_raw_response.create(
                    model="chat", messages=QUESTION, max_tokens=3
                )
                assert answer.headers["x-maillage-run"] == standing.run_id
            here.known["chat"] = here.known["chat"][:1]
            with pytest.raises(openai.InternalServerError) as alone:
                client.chat.completions.create(model="chat", messages=QUESTION)
            assert alone.value.status_code == 503 and alone.value.response.headers["retry-after"]
    finally:
        doomed.process.kill()
        doomed.process.wait()
