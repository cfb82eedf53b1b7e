"""Phrase: the words a deletion request names, and how they are matched in texts."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator

from app.domain.marks import shorten_marks

MIN_CHARACTERS = 2
"""A single character is in nearly every text."""


class Phrase:
    """Matches regardless of case, Unicode composition, and the white space between its words."""

    def __init__(self, text: str) -> None:
        """Raises ValueError: it is shorter than `MIN_CHARACTERS`, not counting spaces."""
        self.text = text
        self._folded = _fold(text)
        if len(self._folded) < MIN_CHARACTERS:
            raise ValueError(f"A phrase has at least {MIN_CHARACTERS} characters besides spaces.")

    def is_in(self, text: str | None) -> bool:
        return bool(text) and self._folded in _fold(text or "")

    def is_in_json(self, text: str | None) -> bool:
        """Whether a string of the JSON text contains it: a value, or the name of a field."""
        if not text:
            return False
        if "\\" not in text:
            return self.is_in(text)
        return any(self.is_in(one) for one in strings_in(json.loads(text)))

    def without(self, given: object, marker: str) -> object:
        """The JSON value with `marker` for every string that contains it, without fields whose name does."""
        if isinstance(given, str):
            return marker if self.is_in(given) else given
        if isinstance(given, list):
            return [self.without(item, marker) for item in given]
        if isinstance(given, dict):
            return {name: self.without(item, marker) for name, item in given.items() if not self.is_in(name)}
        return given


def strings_in(given: object) -> Iterator[str]:
    """Every string of a JSON value, names of fields among them."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, list):
        for item in given:
            yield from strings_in(item)
    elif isinstance(given, dict):
        for name, item in given.items():
            yield name
            yield from strings_in(item)


def _fold(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", shorten_marks(text))
    return " ".join(text.casefold().split())
