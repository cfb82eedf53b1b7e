"""Runs of combining marks are shortened, other texts are not touched."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.marks import MAX_MARKS, shorten_marks


@pytest.mark.parametrize(
    "text", ["Zalgo", "e\u0301" * 100, "می\u200cخواهم", "ก็ู้", "…—“”" * 20, "👩🏽\u200d💻" * 40, "─" * 80]
)
def test_texts_of_people_stay_as_they_are(text: str) -> None:
    assert shorten_marks(text) == text


@pytest.mark.parametrize("mark", ["\u0300", "\u0316\u0300", "\uff9e", "\u0f73", "\u0344", "\U0001d165"])
def test_no_more_marks_follow_each_other_than_any_script_writes(mark: str) -> None:
    found = shorten_marks("a" + mark * 1000 + "b" + mark)

    assert found == "a" + (mark * 1000)[:MAX_MARKS] + "b" + mark


@given(st.text(alphabet=st.sampled_from("a ä\u0300\u0316\u0344\uff9e\u0f73\u0f71é-"), max_size=200))
def test_the_longest_run_is_bounded_in_every_form(text: str) -> None:
    for form in ("NFD", "NFKD"):
        marks = most = 0
        for char in unicodedata.normalize(form, shorten_marks(text)):
            marks = marks + 1 if unicodedata.combining(char) else 0
            most = max(most, marks)
        assert most <= 2 * MAX_MARKS + 2  # a mark may stand for two


def test_every_character_that_can_make_a_run_is_known() -> None:
    """Runs are looked for among what is no letter, and among two letters that become marks."""
    starters = [
        char
        for char in map(chr, range(0x80, sys.maxunicode + 1))
        if char.isalnum() and unicodedata.combining(unicodedata.normalize("NFKD", char)[0])
    ]

    assert starters == ["\uff9e", "\uff9f"]
