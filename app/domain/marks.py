"""Combining marks: runs of them are shortened, so that normalising a text takes time linear in its length.

`unicodedata.normalize` sorts each run of marks by insertion: one run of 60,000 marks kept a server busy for 17 s.
"""

from __future__ import annotations

import re
import unicodedata

MAX_MARKS = 30
"""Marks that follow each other at most: the limit of Unicode's stream-safe text (UAX #15, section 13)."""

# Marks are no word characters. Two letters are marks once they are decomposed: the halfwidth voicing signs of Katakana.
_LONG_RUN = re.compile(rf"[\W\uff9e\uff9f]{{{MAX_MARKS + 1},}}")


def shorten_marks(text: str) -> str:
    """The text without the marks of a run beyond the first `MAX_MARKS`; no script writes that many."""
    return text if text.isascii() else _LONG_RUN.sub(_shorten, text)


def _shorten(match: re.Match[str]) -> str:
    run = match[0]
    if run.isascii():
        return run
    kept: list[str] = []
    marks = 0
    for char in run:
        marks = marks + 1 if _is_mark(char) else 0
        if marks <= MAX_MARKS:
            kept.append(char)
    return "".join(kept)


def _is_mark(char: str) -> bool:
    return char > "\x7f" and unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) != 0
