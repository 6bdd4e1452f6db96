"""A language model of the Llama architecture in NumPy, with its backward pass written by hand.

Root-mean-square norms, rotary positions, causal attention, SwiGLU, one table for tokens in and out.
All weights stand in one flat vector, of which each named array is a view: an optimiser step, a sum
over workers and a checkpoint are each one operation on one vector.

Notation: N = rows * T tokens of a batch, D width, H heads of size D/H, F hidden width, V vocabulary.
A weight is stored (out, in), so that it can be exported as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizer import BEGIN

Array = NDArray[Any]
NORM_EPSILON = 1e-5
ROPE_BASE = 10_000.0


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model. `width` is a multiple of `2 * heads`."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    context: int

    def layout(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight, in the order of the flat vector."""
        arrays: dict[str, tuple[int, ...]] = {"tokens": (self.vocabulary, self.width)}
        for layer in range(self.layers):
            arrays[f"{layer}.attention_norm"] = (self.width,)
            arrays[f"{layer}.qkv"] = (3 * self.width, self.width)
            arrays[f"{layer}.attention_out"] = (self.width, self.width)
            arrays[f"{layer}.hidden_norm"] = (self.width,)
            arrays[f"{layer}.gate_up"] = (2 * self.hidden, self.width)
            arrays[f"{layer}.down"] = (self.width, self.hidden)
        arrays["norm"] = (self.width,)
        return arrays

    @property
    def weights(self) -> int:
        """How many numbers the model has."""
        return sum(int(np.prod(shape)) for shape in self.layout().values())

    def views(self, flat: Array) -> dict[str, Array]:
        """The named arrays inside a flat vector of `weights` numbers; writing to them writes to it."""
        named, start = {}, 0
        for name, shape in self.layout().items():
            end = start + int(np.prod(shape))
            named[name] = flat[start:end].reshape(shape)
            start = end
        return named


def initial(shape: Shape, seed: int, dtype: Any = np.float32) -> Array:
    """First weights: normal, 0.02 wide, less for what adds to the residual stream; norms are one."""
    flat = np.random.default_rng(seed).normal(0.0, 0.02, shape.weights).astype(dtype)
    for name, array in shape.views(flat).items():
        if name.endswith("norm"):
            array[:] = 1.0
        elif name.endswith(("attention_out", "down")):
            array /= np.sqrt(2.0 * shape.layers)
    return flat


class Model:
    """Weights and what is fixed for them: the rotation of each position and the causal mask."""

    def __init__(self, shape: Shape, flat: Array) -> None:
        self.shape, self.flat, self.named = shape, flat, shape.views(flat)
        size = shape.width // shape.heads
        angles = np.outer(np.arange(shape.context), ROPE_BASE ** (-np.arange(0, size, 2) / size))
        self._rotation = np.exp(1j * angles).astype(np.result_type(flat.dtype, np.complex64))
        self._future = np.triu(np.full((shape.context, shape.context), -np.inf, flat.dtype), 1)

    def logits(self, tokens: Array) -> Array:
        """(rows, T) token numbers -> (rows, T, V) scores of the next token."""
        hidden, _ = self._forward(tokens)
        return (hidden @ self.named["tokens"].T).reshape(*tokens.shape, -1)

    def loss(self, tokens: Array, targets: Array, weight: Array, gradient: Array | None = None) -> float:
        """Sum over the batch of `weight` * cross-entropy in nats; all arguments are (rows, T).

        With `gradient`, a flat vector, the gradient of that sum is added to it.
        """
        hidden, tape = self._forward(tokens)
        table = self.named["tokens"]
        scores = hidden @ table.T
        scores -= scores.max(axis=1, keepdims=True)
        place = np.arange(len(scores)), targets.ravel()
        right = scores[place]
        np.exp(scores, out=scores)
        total = scores.sum(axis=1)
        loss = float(((np.log(total) - right) * weight.ravel()).sum(dtype=np.float64))
        if gradient is not None:
            named = self.shape.views(gradient)
            d_scores = scores
            d_scores *= (weight.ravel() / total)[:, None]
            d_scores[place] -= weight.ravel()
            named["tokens"] += d_scores.T @ hidden
            self._backward(d_scores @ table, tokens, tape, named)
        return loss

    def _forward(self, tokens: Array) -> tuple[Array, list[Any]]:
        """The normed output (N, D), and what the backward pass needs of each layer."""
        named, tape = self.named, []
        hidden_from = self._hidden_from(tokens)
        x = named["tokens"][tokens.ravel()]
        for layer in range(self.shape.layers):
            normed, norm = _norm(x, named[f"{layer}.attention_norm"])
            mixed, attention = self._attend(normed @ named[f"{layer}.qkv"].T, hidden_from)
            x = x + mixed @ named[f"{layer}.attention_out"].T
            after, after_norm = _norm(x, named[f"{layer}.hidden_norm"])
            both = after @ named[f"{layer}.gate_up"].T
            gate, up = both[:, : self.shape.hidden], both[:, self.shape.hidden :]
            sigmoid = 1.0 / (1.0 + np.exp(-gate))
            active = gate * sigmoid
            inner = active * up
            x = x + inner @ named[f"{layer}.down"].T
            tape.append((normed, norm, mixed, attention, after, after_norm, sigmoid, active, up, inner))
        output, norm = _norm(x, named["norm"])
        return output, [*tape, norm]

    def _backward(self, d_output: Array, tokens: Array, tape: list[Any], grad: dict[str, Array]) -> None:
        """Adds the gradient of every weight but the output table to `grad`."""
        named = self.named
        dx = _norm_back(d_output, named["norm"], tape[-1], grad["norm"])
        for layer in reversed(range(self.shape.layers)):
            normed, norm, mixed, attention, after, after_norm, sigmoid, active, up, inner = tape[layer]
            grad[f"{layer}.down"] += dx.T @ inner
            d_inner = dx @ named[f"{layer}.down"]
            d_gate = d_inner * up * (sigmoid + active * (1.0 - sigmoid))
            d_both = np.concatenate((d_gate, d_inner * active), axis=1)
            grad[f"{layer}.gate_up"] += d_both.T @ after
            d_after = d_both @ named[f"{layer}.gate_up"]
            dx = dx + _norm_back(
                d_after, named[f"{layer}.hidden_norm"], after_norm, grad[f"{layer}.hidden_norm"]
            )
            grad[f"{layer}.attention_out"] += dx.T @ mixed
            d_qkv = self._attend_back(dx @ named[f"{layer}.attention_out"], attention, tokens.shape)
            grad[f"{layer}.qkv"] += d_qkv.T @ normed
            d_normed = d_qkv @ named[f"{layer}.qkv"]
            dx = dx + _norm_back(
                d_normed, named[f"{layer}.attention_norm"], norm, grad[f"{layer}.attention_norm"]
            )
        np.add.at(grad["tokens"], tokens.ravel(), dx)

    def _hidden_from(self, tokens: Array) -> Array:
        """(rows, 1, T, T): minus infinity where a token may not look, ahead or before its own BEGIN."""
        part = np.cumsum(tokens == BEGIN, axis=1)
        apart = part[:, None, :, None] != part[:, None, None, :]
        length = tokens.shape[1]
        return np.where(apart, self._future.dtype.type(-np.inf), self._future[:length, :length])

    def _attend(self, qkv: Array, hidden_from: Array) -> tuple[Array, Any]:
        """Attention: (N, 3 D) -> (N, D)."""
        rows, _, length, _ = hidden_from.shape
        q, k, v = self._by_head(qkv, rows, length)
        q, k = self._rotate(q, length), self._rotate(k, length)
        share = q @ k.swapaxes(2, 3)
        share *= 1.0 / np.sqrt(q.shape[-1])
        share += hidden_from
        share -= share.max(axis=-1, keepdims=True)
        np.exp(share, out=share)
        share /= share.sum(axis=-1, keepdims=True)
        return (share @ v).transpose(0, 2, 1, 3).reshape(rows * length, -1), (q, k, v, share)

    def _attend_back(self, d_mixed: Array, saved: Any, batch: tuple[int, ...]) -> Array:
        (rows, length), (q, k, v, share) = batch, saved
        d_mixed = d_mixed.reshape(rows, length, self.shape.heads, -1).transpose(0, 2, 1, 3)
        d_v = share.swapaxes(2, 3) @ d_mixed
        d_share = d_mixed @ v.swapaxes(2, 3)
        d_share -= (d_share * share).sum(axis=-1, keepdims=True)
        d_share *= share
        d_share *= 1.0 / np.sqrt(q.shape[-1])
        d_q = self._rotate(d_share @ k, length, back=True)
        d_k = self._rotate(d_share.swapaxes(2, 3) @ q, length, back=True)
        parts = np.stack((d_q, d_k, d_v))  # (3, rows, H, T, D/H)
        return parts.transpose(1, 3, 0, 2, 4).reshape(rows * length, -1)

    def _by_head(self, qkv: Array, rows: int, length: int) -> Array:
        """(N, 3 D) -> queries, keys and values, each (rows, H, T, D/H)."""
        return np.ascontiguousarray(
            qkv.reshape(rows, length, 3, self.shape.heads, -1).transpose(2, 0, 3, 1, 4)
        )

    def _rotate(self, x: Array, length: int, back: bool = False) -> Array:
        """Turn each pair of neighbours (2i, 2i+1) by the angle of its position (llama.cpp's order)."""
        turn = self._rotation[:length]
        return (x.view(turn.dtype) * (turn.conj() if back else turn)).view(x.dtype)


def _norm(x: Array, gain: Array) -> tuple[Array, tuple[Array, Array]]:
    """x / rms(x) * gain by row, and what its backward pass needs."""
    inverse = 1.0 / np.sqrt(np.einsum("ij,ij->i", x, x) / x.shape[1] + NORM_EPSILON)
    unit = x * inverse[:, None]
    return unit * gain, (unit, inverse)


def _norm_back(d_out: Array, gain: Array, saved: tuple[Array, Array], d_gain: Array) -> Array:
    """Gradient of x; the gradient of `gain` is added to `d_gain`."""
    unit, inverse = saved
    d_gain += np.einsum("ij,ij->j", d_out, unit)
    d_unit = d_out * gain
    along = np.einsum("ij,ij->i", d_unit, unit) / unit.shape[1]
    return (d_unit - unit * along[:, None]) * inverse[:, None]
