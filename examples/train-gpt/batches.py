"""What is trained on at each step: a pure function of (seed, step, shard), whoever computes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from corpus import Exchange, exchanges
from model import Array
from tokenizer import END, Tokenizer, learn

QUESTION_WEIGHT = 0.03  # of a question's tokens in the loss: what people ask is not to be predicted


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens, the tokens that follow, and how much each counts in the loss; all (rows, T)."""

    tokens: Array
    targets: Array
    weight: Array


class Batches:
    """The corpus in tokens, from which batches are drawn."""

    def __init__(self, seed: int, vocabulary: int, context: int, rows: int) -> None:
        corpus = exchanges(seed)
        training = [exchange for exchange in corpus if not exchange.held_out]
        self.seed, self.context, self.rows = seed, context, rows
        self.tokenizer = learn((text for e in training for text in (e.question, e.answer)), vocabulary)
        self.held_out = [exchange for exchange in corpus if exchange.held_out]
        self._parts = [encode(self.tokenizer, exchange) for exchange in training]

    def draw(self, step: int, shard: int) -> Batch:
        """Rows of exchanges drawn at random: their order tells nothing, so it cannot be learned."""
        source = np.random.default_rng((self.seed, step, shard))
        tokens = np.empty((self.rows, self.context + 1), np.int64)
        weight = np.empty((self.rows, self.context + 1), np.float32)
        for row in range(self.rows):
            place = 0
            while place <= self.context:
                said, counts = self._parts[source.integers(len(self._parts))]
                tokens[row, place : place + len(said)] = said[: self.context + 1 - place]
                weight[row, place : place + len(said)] = counts[: self.context + 1 - place]
                place += len(said)
        return Batch(tokens[:, :-1], tokens[:, 1:], weight[:, 1:])

    def exam(self, limit: int = 200) -> Batch:
        """Held-out exchanges, one a row; only the answer counts."""
        chosen = [encode(self.tokenizer, exchange) for exchange in self.held_out[:limit]]
        rows = np.zeros((len(chosen), self.context + 1), np.int64)
        weight = np.zeros(rows.shape, np.float32)
        for row, (tokens, counts) in enumerate(chosen):
            rows[row, : len(tokens)] = tokens[: self.context + 1]
            weight[row, : len(tokens)] = counts[: self.context + 1] == 1.0
        return Batch(rows[:, :-1], rows[:, 1:], weight[:, 1:])


def encode(tokenizer: Tokenizer, exchange: Exchange) -> tuple[Array, Array]:
    """An exchange as the chat template writes it, and the weight of each token as a target."""
    question = tokenizer.prompt(exchange.question)
    answer = [*tokenizer.encode(exchange.answer), END]
    weight = np.ones(len(question) + len(answer), np.float32)
    weight[: len(question)] = QUESTION_WEIGHT
    return np.array(question + answer), weight
