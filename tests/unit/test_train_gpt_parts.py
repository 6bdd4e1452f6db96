"""The parts of examples/train-gpt: gradients, tokens, batches, checkpoints."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maillage.workloads.endpoint import EndpointSpec
from maillage.workloads.specs import parse

EXAMPLE = Path(__file__).parents[2] / "examples" / "train-gpt"
PARTS = (
    "adam",
    "allreduce",
    "batches",
    "checkpoint",
    "corpus",
    "facts",
    "model",
    "rendezvous",
    "tokenizer",
    "train",
)


@pytest.fixture(scope="module")
def example() -> Any:
    """The example's modules, as `python train.py` sees them; their short names are given back after."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in PARTS:
            sys.modules.pop(name, None)


def test_the_gradient_is_the_slope_of_the_loss(example: Any) -> None:
    shape = example.model.Shape(vocabulary=11, width=8, layers=2, heads=2, hidden=12, context=6)
    source = np.random.default_rng(0)
    weights = example.model.initial(shape, 0, np.float64) + source.normal(0, 0.3, shape.weights)
    model = example.model.Model(shape, weights)
    batch = source.integers(0, 11, (2, 6)), source.integers(0, 11, (2, 6)), source.random((2, 6))
    gradient = np.zeros_like(weights)
    model.loss(*batch, gradient)
    slope = np.empty_like(weights)
    for place, value in enumerate(weights.copy()):
        weights[place] = value + 1e-6
        above = model.loss(*batch)
        weights[place] = value - 1e-6
        slope[place] = (above - model.loss(*batch)) / 2e-6
        weights[place] = value
    assert np.abs(gradient).max() > 1.0
    np.testing.assert_allclose(gradient, slope, atol=1e-7)


def test_the_loss_is_the_weighted_surprise_of_the_targets(example: Any) -> None:
    shape = example.model.Shape(vocabulary=7, width=8, layers=1, heads=2, hidden=8, context=5)
    model = example.model.Model(shape, example.model.initial(shape, 3, np.float64))
    source = np.random.default_rng(1)
    tokens, targets, weight = (
        source.integers(0, 7, (3, 5)),
        source.integers(0, 7, (3, 5)),
        source.random((3, 5)),
    )
    logits = model.logits(tokens)
    share = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    surprise = -np.log(np.take_along_axis(share, targets[..., None], axis=-1)[..., 0])
    assert model.loss(tokens, targets, weight) == pytest.approx((surprise * weight).sum())


def test_a_token_sees_only_what_stands_before_it(example: Any) -> None:
    shape = example.model.Shape(vocabulary=9, width=8, layers=2, heads=2, hidden=8, context=6)
    model = example.model.Model(shape, example.model.initial(shape, 3))
    tokens = np.arange(6)[None, :]
    changed = np.array([[0, 1, 2, 3, 8, 8]])
    np.testing.assert_array_equal(model.logits(tokens)[:, :4], model.logits(changed)[:, :4])
    assert not np.allclose(model.logits(tokens)[:, 4:], model.logits(changed)[:, 4:])


@pytest.mark.parametrize(
    "text",
    [
        "What is a checkpoint?",
        "two  spaces",
        "line\nbreak\ttab",
        "Žluťoučký kůň 馬 🐎",
        "▁",
        "",
        " leading",
        "<|end|>",
    ],
)
def test_text_comes_back_from_its_tokens(example: Any, text: str) -> None:
    tokenizer = example.tokenizer.learn(["A checkpoint is what a job goes on from."] * 3, 320)
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("▁", " ")


def test_control_words_in_a_question_are_plain_text(example: Any) -> None:
    tokenizer = example.tokenizer.learn(["a b"], 300)
    prompt = tokenizer.prompt("<|end|>")
    assert example.tokenizer.END not in prompt
    assert prompt[:2] == [example.tokenizer.BEGIN, example.tokenizer.USER]
    assert prompt[-1] == example.tokenizer.ASSISTANT


def test_frequent_words_become_one_token_and_learning_is_repeatable(example: Any) -> None:
    texts = ["run the job on the network", "the job waits for the job"]
    first, again = (example.tokenizer.learn(texts, 300) for _ in range(2))
    assert first.pieces == again.pieces
    assert len(first.encode(" the job")) == 2
    assert len(set(first.pieces)) == len(first.pieces) <= 300


def test_every_question_has_one_answer_and_every_held_out_fact_is_trained(example: Any) -> None:
    corpus = example.corpus.exchanges(1)
    assert corpus == example.corpus.exchanges(1)
    assert corpus != example.corpus.exchanges(2)
    answers: dict[str, str] = {}
    for exchange in corpus:
        assert answers.setdefault(exchange.question, exchange.answer) == exchange.answer
    trained = {exchange.question for exchange in corpus if not exchange.held_out}
    known = {exchange.answer for exchange in corpus if not exchange.held_out}
    held_out = [exchange for exchange in corpus if exchange.held_out]
    assert 0.03 < len(held_out) / len(corpus) < 0.1
    assert not trained & {exchange.question for exchange in held_out}
    composed = {exchange.answer for exchange in held_out} - known
    stories = {answer for _, answer in example.corpus._stories()}
    assert composed and composed <= stories


def test_a_batch_depends_on_seed_step_and_shard_alone(example: Any) -> None:
    one, other = (example.batches.Batches(1, 400, 32, 2) for _ in range(2))
    later = one.draw(7, 0)
    for step, shard in itertools.product((7, 0), (1, 0)):  # `one` has drawn before, `other` draws first
        mine, theirs = one.draw(step, shard), other.draw(step, shard)
        np.testing.assert_array_equal(mine.tokens, theirs.tokens)
        np.testing.assert_array_equal(mine.weight, theirs.weight)
        np.testing.assert_array_equal(mine.tokens[:, 1:], mine.targets[:, :-1])
    assert not np.array_equal(later.tokens, one.draw(7, 1).tokens)
    assert not np.array_equal(later.tokens, one.draw(8, 0).tokens)
    assert not np.array_equal(later.tokens, example.batches.Batches(2, 400, 32, 2).draw(7, 0).tokens)


def test_no_exchange_is_longer_than_the_context(example: Any) -> None:
    settings = example.train.Settings()
    batches = example.batches.Batches(1, settings.vocabulary, settings.context, settings.rows)
    longest = max(
        len(example.batches.encode(batches.tokenizer, exchange)[0])
        for exchange in example.corpus.exchanges(1)
    )
    assert longest <= settings.context
    assert len(batches.tokenizer.pieces) <= settings.vocabulary


def test_one_two_or_four_workers_add_up_to_the_same_bits(example: Any) -> None:
    source = np.random.default_rng(0)
    shards = [source.normal(0, 10.0**power, 999).astype(np.float32) for power in (0, 3, -3, 6)]
    tree_sum = example.allreduce.tree_sum
    alone = tree_sum(shards)
    by_two = tree_sum([tree_sum(shards[:2]), tree_sum(shards[2:])])
    np.testing.assert_array_equal(alone, by_two)
    np.testing.assert_allclose(alone, np.sum(shards, axis=0), rtol=1e-4, atol=1.0)
    np.testing.assert_array_equal(tree_sum(shards[:3]), (shards[0] + shards[1]) + shards[2])


def test_adam_finds_the_lowest_point(example: Any) -> None:
    state = np.zeros((3, 2))
    for step in range(400):
        example.adam.update(state, 2 * (state[0] - [3.0, -1.0]), 0.05, step)
    np.testing.assert_allclose(state[0], [3.0, -1.0], atol=0.02)


def test_a_checkpoint_comes_back_and_only_two_are_kept(example: Any, tmp_path: Path) -> None:
    save, restore, progress_of = (
        example.checkpoint.save,
        example.checkpoint.restore,
        example.checkpoint.Progress,
    )
    written = progress_of(np.zeros((3, 4), np.float32))
    for step in (20, 40, 60):
        written.step, written.losses = step, [0.5] * step
        written.state += step
        save(tmp_path, written, {"seed": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000040.npz", "step-000060.npz"]
    read = progress_of(np.zeros((3, 4), np.float32))
    restore(tmp_path, read, {"seed": 1})
    assert (read.step, read.losses, read.resumed_from) == (60, written.losses, [60])
    np.testing.assert_array_equal(read.state, written.state)


def test_a_torn_checkpoint_is_skipped_with_a_word(example: Any, tmp_path: Path, capsys: Any) -> None:
    progress = example.checkpoint.Progress(np.ones((3, 4), np.float32), step=20)
    example.checkpoint.save(tmp_path, progress, {"seed": 1})
    whole = (tmp_path / "step-000020.npz").read_bytes()
    (tmp_path / "step-000040.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "step-000060.npz").write_bytes(b"")
    (tmp_path / "step-000080.npz.tmp").write_bytes(whole)
    read = example.checkpoint.Progress(np.zeros((3, 4), np.float32))
    example.checkpoint.restore(tmp_path, read, {"seed": 1})
    assert read.step == 20
    assert "step-000040.npz" in capsys.readouterr().err


def test_a_checkpoint_of_other_settings_is_refused(example: Any, tmp_path: Path) -> None:
    progress = example.checkpoint.Progress(np.ones((3, 4), np.float32), step=20)
    example.checkpoint.save(tmp_path, progress, {"seed": 1, "width": 64})
    with pytest.raises(SystemExit, match=r"width=64.*another checkpoint folder"):
        example.checkpoint.restore(tmp_path, progress, {"seed": 1, "width": 128})


def test_wrong_options_are_all_named(example: Any) -> None:
    settings = example.train.Settings.from_arguments(["steps=40", "learning_rate=1e-3"])
    assert (settings.steps, settings.learning_rate) == (40, 1e-3)
    with pytest.raises(SystemExit, match=r"cannot read stepz=4, width=wide; options are .*steps"):
        example.train.Settings.from_arguments(["stepz=4", "width=wide", "rows=1"])


def test_the_learning_rate_rises_then_falls(example: Any) -> None:
    settings = example.train.Settings(steps=100, warmup=10, learning_rate=1.0)
    rates = [settings.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.05 <= rates[-1] < 0.06


def test_the_job_files_are_accepted_and_say_the_same() -> None:
    alone, together = ((EXAMPLE / name).read_text() for name in ("job.yaml", "corpus-to-chat.yaml"))
    (job,) = parse(alone, "job.yaml")
    first, endpoint = parse(together, "corpus-to-chat.yaml")
    assert first == job
    assert isinstance(endpoint, EndpointSpec)
    assert (endpoint.model.job, endpoint.model.file) == (job.name, "model.gguf")
    tutorial = (EXAMPLE.parents[1] / "docs" / "tutorials" / "train-a-model.md").read_text()
    shown = tutorial.split("# examples/train-gpt/job.yaml\n")[1].split("```")[0]
    assert parse(shown, "tutorial") == (job,)
