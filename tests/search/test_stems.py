"""Porter's stemmer against words of its paper."""

from __future__ import annotations

import pytest

from app.search.stems import stem


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("hopping", "hop"),
        ("filing", "file"),
        ("relational", "relat"),
        ("happy", "happi"),
        ("generalizations", "gener"),
        ("oscillators", "oscil"),
        ("controlling", "control"),
        ("sky", "sky"),
        ("2023", "2023"),
        ("größe", "größe"),
    ],
)
def test_stems_are_porters(word: str, expected: str) -> None:
    assert stem(word) == expected
