"""Excerpts: the beginning of a text, and the part that answers a question."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.search.excerpt import excerpt, shorten
from app.search.words import terms


@given(st.text(max_size=100), st.integers(2, 40))
def test_a_shortened_text_is_one_line_of_its_beginning(text: str, length: int) -> None:
    found = shorten(text, length)

    assert len(found) <= length
    assert " ".join(text.split()).startswith(found.removesuffix("…"))


def test_a_text_that_fits_is_not_cut() -> None:
    assert shorten("one\ntwo", 7) == "one two"
    assert shorten("one two three", 8) == "one two…"


@settings(max_examples=40)
@given(st.text(max_size=600), st.text(max_size=40))
def test_an_excerpt_is_short_and_of_the_text(text: str, question: str) -> None:
    found = excerpt(text, frozenset(terms(question)))

    assert len(found) <= 244
    assert found.removeprefix("… ").removesuffix(" …") in " ".join(text.split())


def test_an_excerpt_shows_where_most_of_the_words_stand() -> None:
    text = "A parrot. " + "Nothing here. " * 40 + "The parrot and the falcon meet." + " Nothing more." * 40

    assert "parrot and the falcon" in excerpt(text, frozenset(terms("falcons and parrots")))
