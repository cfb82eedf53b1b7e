"""Excerpts: the beginning of a text, and the part that answers a question."""

from __future__ import annotations

import time

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


def test_an_excerpt_reaches_the_last_word() -> None:
    text = "Nothing here. " * 40 + "The parrot is called Rio."

    assert excerpt(text, frozenset(terms("parrot"))).endswith("The parrot is called Rio.")


def test_a_term_that_stands_everywhere_does_not_choose_the_place() -> None:
    text = "The number of the region rose. " * 40 + "My passport has the number X123. " + "A number fell. " * 40

    assert "X123" in excerpt(text, frozenset(terms("my passport number")))


def test_texts_without_spaces_are_searched_inside() -> None:
    text = "今天天气很好我们去公园玩" * 60 + "我的猫叫小黑" + "明天下雨我们在家看书" * 60

    assert "小黑" in excerpt(text, frozenset(terms("我的猫叫什么")))


def test_irregular_forms_are_found() -> None:
    text = "Nothing here. " * 40 + "We went to Peru." + " Nothing more." * 40

    assert "Peru" in excerpt(text, frozenset(terms("where did we go")))


def test_a_long_text_takes_no_time_to_speak_of() -> None:
    text = "parrot number region " * 50_000
    started = time.process_time()
    excerpt(text, frozenset(terms("parrot number region falcon")))

    assert time.process_time() - started < 3
