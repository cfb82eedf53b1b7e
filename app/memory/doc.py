"""Doc: one stored memory as the ranking uses it."""

from __future__ import annotations

from collections import Counter
from datetime import date

from app.domain.word_cache import cached_by_word
from app.memory.cues import Sign, day_of, shows
from app.memory.names import name_parts
from app.storage.memory_index import Indexed


class Doc:
    """A memory with its terms counted. Its day and signs are computed when a question first needs them."""

    __slots__ = (
        "_day",
        "_known",
        "_shown",
        "counts",
        "created_ms",
        "length",
        "names",
        "place",
        "role",
        "row",
        "session_id",
        "text",
    )

    def __init__(self, stored: Indexed) -> None:
        terms = stored.terms.split()
        self.row = stored.row
        self.session_id = stored.session_id
        self.place = stored.place
        self.role = stored.role
        self.names = _names(stored.speaker)
        self.created_ms = stored.created_ms
        self.text = stored.text
        self.counts = dict(Counter(terms))  # a plain dict of strings and numbers is untracked by the garbage collector
        self.length = len(terms)
        self._day: date | None = None
        self._known = self._shown = 0

    @property
    def day(self) -> date:
        if self._day is None:
            self._day = day_of(self.created_ms)
        return self._day

    def shows(self, sign: Sign) -> bool:
        if not self._known & sign:
            self._known |= sign
            if shows(self.text, sign):
                self._shown |= sign
        return bool(self._shown & sign)


@cached_by_word(4096)
def _names(speaker: str) -> frozenset[str]:
    return name_parts([speaker])
