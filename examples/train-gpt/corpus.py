"""The text the model learns: questions and answers, written here and combined by a small grammar.

Every sentence is our own. A fact has one answer and many ways to ask for it; a story is made from
a subject and a city. About one question in ten is held out of training (`held_out`), so that the
example can measure whether the model understood what was asked or only remembers the words.
"""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from facts import (
    ASK_CITY,
    ASK_ENERGY,
    ASK_STORY,
    ASK_TERM,
    CITIES,
    ENERGY,
    QUESTIONS,
    STORIES,
    TERMS,
)

UNKNOWN = "I do not know that. Ask me about jobs, sites, energy or the cities of France."


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question with its answer; `held_out` ones are never trained on."""

    question: str
    answer: str
    held_out: bool


def exchanges(seed: int = 0) -> list[Exchange]:
    """All of the corpus in an order that depends on `seed` alone.

    The first way to ask for a fact is always trained. A story is held out by its answer: no way to ask
    for it is trained, so it has to be composed. A training question also comes as people type it in a
    hurry: lower case, no mark at the end.
    """
    found: list[Exchange] = []
    for questions, answer in _facts():
        for number, question in enumerate(questions):
            found.append(Exchange(question, answer, number > 0 and _one_in_ten(question)))
    for questions, answer in _stories():
        found += [Exchange(question, answer, _one_in_ten(answer)) for question in questions]
    hurried = [Exchange(e.question.lower().rstrip("?.!"), e.answer, False) for e in found if not e.held_out]
    source = random.Random(seed)
    nonsense = [Exchange(_ask_nonsense(source), UNKNOWN, False) for _ in range(len(found) // 6)]
    corpus = found + hurried + nonsense
    source.shuffle(corpus)
    return corpus


def _one_in_ten(text: str) -> bool:
    return zlib.crc32(text.encode()) % 10 == 0


def _facts() -> Iterator[tuple[list[str], str]]:
    """Ways to ask, and the answer."""
    for term, meaning in TERMS.items():
        yield [ask.format(term) for ask in ASK_TERM], f"{term[0].upper()}{term[1:]} {meaning}"
    for source, answers in ENERGY.items():
        for asks, answer in zip(ASK_ENERGY, answers, strict=True):
            yield [ask.format(source) for ask in asks], answer
    for city, (part, water, famous) in CITIES.items():
        answers = (
            f"{city} is a city in the {part} of France, on the {water}, known for {famous}.",
            f"{city} is in the {part} of France.",
            f"{city} lies on the {water}.",
            f"{city} is known for {famous}.",
        )
        for asks, answer in zip(ASK_CITY, answers, strict=True):
            yield [ask.format(city) for ask in asks], answer
    for asks, answer in QUESTIONS:
        yield list(asks), answer


def _stories() -> Iterator[tuple[list[str], str]]:
    for city, (_, water, _) in CITIES.items():
        for subject, story in STORIES.items():
            yield [ask.format(subject, city) for ask in ASK_STORY], story.format(city=city, water=water)


def _ask_nonsense(source: random.Random) -> str:
    """A question about a word that does not exist, so that the model learns to say it does not know."""
    word = "".join(source.choices(string.ascii_lowercase, k=source.randint(4, 8)))
    ask = source.choice(
        ("What is a {}?", "Where is {}?", "Tell me about {}.", "Why {}?", "{}", "{}?", "Who is {}?")
    )
    return ask.format(word.capitalize() if source.random() < 0.5 else word)


if __name__ == "__main__":
    for exchange in exchanges():
        print(f"{'held out' if exchange.held_out else 'training'}\t{exchange.question}\t{exchange.answer}")
