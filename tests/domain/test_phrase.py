"""A phrase is recognised as people would recognise it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.phrase import Phrase


@pytest.mark.parametrize(
    "text",
    [
        "my Blue  Parrot is gone",
        "BLUE PARROT",
        "the blue\nparrot",
        "(blue\u00a0parrot)",
        "xblue parrotx",
    ],
)
def test_case_and_spaces_make_no_difference(text: str) -> None:
    assert Phrase(" Blue parrot ").is_in(text)


@pytest.mark.parametrize("text", ["blueparrot", "blue, parrot", "parrot blue", "", None])
def test_other_words_are_other_words(text: str | None) -> None:
    assert not Phrase("blue parrot").is_in(text)


def test_accents_are_the_same_however_they_are_encoded() -> None:
    assert Phrase("café").is_in("CAFE\u0301 au lait")
    assert Phrase("straße").is_in("STRASSE")


@pytest.mark.parametrize("text", ["", " ", "a", " a\n"])
def test_a_single_character_is_no_phrase(text: str) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Phrase(text)


@given(
    st.recursive(st.text(max_size=8) | st.integers() | st.none(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
)
def test_what_json_escapes_is_found_and_taken_out(inner: object) -> None:
    phrase = Phrase('say "blue\tparrot" \\ now')
    found = {"a": [inner, 'They say "BLUE\nparrot" \\ now.'], 'say "blue parrot" \\ now': 1}
    assert phrase.is_in_json(json.dumps(found))
    left = phrase.without(found, "…")
    assert not phrase.is_in_json(json.dumps(left))
    assert isinstance(left, dict)
    assert left["a"][1] == "…"
    assert set(left) == {"a"}
