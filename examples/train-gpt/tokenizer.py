"""Byte-pair tokens in the form llama.cpp knows as `llama` (SentencePiece): scores and byte fallback.

Text is cut as llama.cpp cuts it: start from single characters and join, again and again, the two
neighbours whose union has the best score. A union is learned within one word, never across words,
so words may be cut one by one. A space belongs to the word after it and is written `▁`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

UNKNOWN, BEGIN, END, USER, ASSISTANT = range(5)
CONTROL = ("<unk>", "<s>", "<|end|>", "<|user|>", "<|assistant|>")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_WORD = re.compile(r"▁?[^\W\d_]+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """`pieces` by number: control, the 256 bytes, characters, then unions from best to worst."""

    pieces: tuple[str, ...]
    _number: dict[str, int] = field(init=False, repr=False, default_factory=dict)
    _cut: dict[str, list[int]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        first_text = len(CONTROL) + len(BYTES)
        self._number.update({piece: first_text + n for n, piece in enumerate(self.pieces[first_text:])})

    def encode(self, text: str) -> list[int]:
        """Token numbers of plain text; control words in it are text like any other."""
        tokens: list[int] = []
        for word in _WORD.findall(text.replace(" ", "▁")):
            if word not in self._cut:
                self._cut[word] = self._cut_word(word)
            tokens += self._cut[word]
        return tokens

    def prompt(self, question: str) -> list[int]:
        """A question as the chat template in the exported model writes it."""
        return [BEGIN, USER, *self.encode(question.strip()), ASSISTANT]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; control tokens have none, broken UTF-8 becomes the replacement sign."""
        text = b""
        for token in tokens:
            byte = token - len(CONTROL)
            if byte >= len(BYTES):
                text += self.pieces[token].encode()
            elif byte >= 0:
                text += bytes([byte])
        return text.decode(errors="replace").replace("▁", " ")

    def score(self, token: int) -> float:
        """Higher joins first; learned earlier is higher."""
        return -float(token)

    def _cut_word(self, word: str) -> list[int]:
        parts = list(word)
        while True:
            unions = [
                (self._number[left + right], place)
                for place, (left, right) in enumerate(pairwise(parts))
                if left + right in self._number
            ]
            if not unions:
                break
            _, place = min(unions)  # the best score; the leftmost where equal, as llama.cpp does
            parts[place : place + 2] = ["".join(parts[place : place + 2])]
        tokens: list[int] = []
        for part in parts:
            known = self._number.get(part)
            tokens += [known] if known is not None else [len(CONTROL) + byte for byte in part.encode()]
        return tokens


def learn(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of at most `size` pieces, learned by byte-pair encoding. Ties go to the lesser text."""
    words = Counter(word for text in texts for word in _WORD.findall(text.replace(" ", "▁")))
    parts = {word: list(word) for word in words}
    pieces = [*CONTROL, *BYTES, *sorted({character for word in words for character in word})]
    pairs: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        for pair in pairwise(parts[word]):
            pairs[pair] += count
    while len(pieces) < size:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] <= 0:
            break
        union = "".join(best)
        if union not in pieces:
            pieces.append(union)
        for word in [word for word in words if union in word]:
            _join(parts[word], best, pairs, words[word])
    return Tokenizer(tuple(pieces))


def _join(parts: list[str], pair: tuple[str, str], pairs: Counter[tuple[str, str]], count: int) -> None:
    """Join `pair` wherever it stands in `parts`, and keep the counts of pairs true."""
    for neighbours in pairwise(parts):
        pairs[neighbours] -= count
    place = 0
    while place < len(parts) - 1:
        if (parts[place], parts[place + 1]) == pair:
            parts[place : place + 2] = ["".join(pair)]
        place += 1
    for neighbours in pairwise(parts):
        pairs[neighbours] += count
