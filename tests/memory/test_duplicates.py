"""What was said several times is recalled once; what only looks alike is not lost."""

from __future__ import annotations

import pytest

from app.memory.doc import Doc
from app.memory.duplicates import fold
from app.memory.rank import Ranked
from app.search.words import terms
from app.storage.memory_index import Indexed


def ranked(*texts: str) -> list[Ranked]:
    """Turns of as many sessions, best first."""
    return [
        Ranked(
            Doc(Indexed(row, f"s{row}", 1, "user", "user", row, text, " ".join(terms(text)))),
            cues=(),
            coverage=0,
            before=(),
        )
        for row, text in enumerate(texts)
    ]


def kept(*texts: str, alike: float = 0.0, enough: int = 20) -> list[str]:
    found = fold(
        ranked(*texts),
        lambda rows, least: [(a, b) for a in rows for b in rows if a < b] if alike >= least else [],
        enough=enough,
    )
    return [one.doc.text for one in found]


@pytest.mark.parametrize(
    "again",
    [
        "i am allergic to PEANUTS!!",
        "I'm allergic to peanuts.",
        "Please remember: I am allergic to peanuts",
        "Just so you know, I am allergic to peanuts",
        "Peanuts, to which I am allergic",
    ],
)
def test_the_same_in_other_words_of_no_weight_is_told_once(again: str) -> None:
    assert kept("I am allergic to peanuts", again) == ["I am allergic to peanuts"]
    assert kept(again, "I am allergic to peanuts") == [again]


@pytest.mark.parametrize(
    ("one", "again"),
    [
        ("Soy alérgico a los cacahuetes", "Yo soy alérgico a los cacahuetes"),
        ("我的猫叫小黑", "我的猫叫小黑！"),
    ],
)
def test_other_languages_have_words_of_no_weight_too(one: str, again: str) -> None:
    assert kept(one, again) == [one]


@pytest.mark.parametrize(
    "other",
    [
        "I am not allergic to peanuts",
        "I'm no longer allergic to peanuts",
        "Am I allergic to peanuts?",
        "I am allergic to walnuts",
        "My brother is allergic to peanuts",
    ],
)
@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_what_says_something_else_stays(other: str, alike: float) -> None:
    texts = ("I am allergic to peanuts", other)
    assert kept(*texts, alike=alike) == list(texts)


def test_vectors_fold_what_adds_a_word_and_never_what_exchanges_one() -> None:
    assert kept("The flight leaves Monday", "The flight leaves Monday, hopefully", alike=0.96) == [
        "The flight leaves Monday"
    ]
    texts = ("The flight leaves Monday", "The flight leaves Tuesday")
    assert kept(*texts, alike=0.99) == list(texts)


def test_texts_without_a_term_are_all_kept_and_no_more_than_enough() -> None:
    assert kept("...", "...", "And so on") == ["...", "...", "And so on"]
    assert kept("a cat", "a cat", "a dog", "a cow", enough=2) == ["a cat", "a dog"]
