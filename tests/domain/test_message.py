"""Blank texts: what nobody can see is no message."""

from __future__ import annotations

import pytest

from app.domain.message import is_blank

INVISIBLE = (
    "\t\n\r \x00\x1f\x7f\x85\xa0\xad\u034f\u061c\u1160\u1680\u180e\u2007\u200b\u200d\u200f\u2028\u202e\u2060"
    "\u2066\u2800\u3000\u3164\ufe0f\ufeff\uffa0\U000e0041"
)


@pytest.mark.parametrize("text", ["", *INVISIBLE, INVISIBLE, " \u200b\n" * 1000])
def test_what_cannot_be_seen_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize(
    "text", [".", "0", "é", "中", "👍🏽", "\u0301", "\ufffd", INVISIBLE + "x", "\u200b\u05d0", "…"]
)
def test_one_character_that_can_be_seen_is_enough(text: str) -> None:
    assert not is_blank(text)
