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

from facts import CITIES, ENERGY, QUESTIONS, STORIES, TERMS

UNKNOWN = "I do not know that. Ask me about jobs, sites, energy or the cities of France."
STORY_CHARACTERS = 120  # every story is longer, every other answer shorter


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question with its answer; `held_out` ones are never trained on."""

    question: str
    answer: str
    held_out: bool


def exchanges(seed: int = 0) -> list[Exchange]:
    """All of the corpus in an order that depends on `seed` alone.

    A training question also comes as people type it in a hurry: lower case, no mark at the end.
    """
    found: list[Exchange] = []
    for question, answer in _grammar():
        # A story is held out by its answer: no way to ask for it is trained, so it must be composed.
        key = answer if len(answer) > STORY_CHARACTERS else question
        held_out = zlib.crc32(key.encode()) % 10 == 0
        found.append(Exchange(question, answer, held_out))
        if not held_out:
            found.append(Exchange(question.lower().rstrip("?.!"), answer, False))
    source = random.Random(seed)
    found += [Exchange(_ask_nonsense(source), UNKNOWN, False) for _ in range(len(found) // 25)]
    source.shuffle(found)
    return found


def _grammar() -> Iterator[tuple[str, str]]:
    for term, meaning in TERMS.items():
        for ask in (
            "What is {}?",
            "What does {} mean?",
            "Tell me about {}.",
            "Can you explain {}?",
            "Please define {}.",
            "Explain {} to me.",
            "I do not know what {} is.",
            "Do you know what {} is?",
            "So what is {}?",
        ):
            yield ask.format(term), f"{term[0].upper()}{term[1:]} {meaning}"
    for source, (works, strong, carbon) in ENERGY.items():
        for ask in (
            "How does {} work?",
            "How is {} made?",
            "What is {}?",
            "Explain {}.",
            "Tell me about {}.",
        ):
            yield ask.format(source), works
        for ask in ("When is {} strong?", "When do we have much {}?", "When does {} help?"):
            yield ask.format(source), strong
        for ask in ("Is {} clean?", "Is {} low in carbon?", "How much carbon does {} make?", "Is {} green?"):
            yield ask.format(source), carbon
    for city, (part, water, famous) in CITIES.items():
        for ask in (
            "Where is {}?",
            "Where can I find {}?",
            "In which part of France is {}?",
            "Where does {} lie?",
        ):
            yield ask.format(city), f"{city} is in the {part} of France."
        for ask in (
            "Which water is near {}?",
            "Is {} on a river?",
            "What flows by {}?",
            "What water has {}?",
        ):
            yield ask.format(city), f"{city} lies on the {water}."
        for ask in ("What is {} known for?", "Why is {} famous?", "What can I see in {}?", "What has {}?"):
            yield ask.format(city), f"{city} is known for {famous}."
        for ask in ("Tell me about {}.", "What is {}?", "Do you know {}?", "Describe {}."):
            yield (
                ask.format(city),
                f"{city} is a city in the {part} of France, on the {water}, known for {famous}.",
            )
        for subject, story in STORIES.items():
            for ask in (
                "Tell me a story about {} in {}.",
                "A story about {} in {}, please.",
                "What did {} do in {}?",
            ):
                yield ask.format(subject, city), story.format(city=city, water=water)
    for asked, answer in QUESTIONS:
        for question in asked:
            yield question, answer


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
