"""Turns by their words: an inverted index of a scope in memory, and BM25 over it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from app.memory.doc import Doc

K1 = 1.2
B = 0.2
"""Length normalisation: low, for a longer doc says more here (facts: b=.75 costs 3 points of recall)."""


INDEXED = 1_000
"""Turns from which on a shelf has an inverted index. Without one a smaller shelf is sooner made than with, a third
smaller, and as quickly searched."""


COMMON = 150
"""Turns that have a word, from which on it brings none that rarer words do not."""


@dataclass(slots=True)
class Shelf:
    """The turns of one audience, or the candidates of a larger one."""

    by_row: dict[int, Doc] = field(default_factory=dict)
    places: dict[tuple[str, int], Doc] = field(default_factory=dict)
    length: int = 0
    _postings: dict[str, list[Doc]] | None = None

    @property
    def docs(self) -> Collection[Doc]:
        return self.by_row.values()

    def add(self, docs: Iterable[Doc]) -> None:
        for doc in docs:
            self.by_row[doc.row] = doc
            self.places[doc.session_id, doc.place] = doc
            self.length += doc.length
            if self._postings is not None:
                self._index(self._postings, doc)
        if self._postings is None and len(self.by_row) >= INDEXED:
            self._postings = {}
            for doc in self.docs:
                self._index(self._postings, doc)

    def with_term(self, term: str) -> Sequence[Doc]:
        if self._postings is not None:
            return self._postings.get(term, ())
        return [doc for doc in self.docs if term in doc.counts]

    @staticmethod
    def _index(postings: dict[str, list[Doc]], doc: Doc) -> None:
        for term in doc.counts:
            postings.setdefault(term, []).append(doc)


@dataclass
class Pool:
    """What a question is ranked against: the shelves of everything its asker may see.

    `frequency` and `size` speak of the whole scope, also when the shelves hold candidates of it only.
    """

    shelves: Sequence[Shelf]
    size: int
    average_length: float
    frequency: Callable[[str], int]

    @classmethod
    def of(cls, shelves: Sequence[Shelf]) -> Pool:
        size = sum([len(shelf.docs) for shelf in shelves])
        length = sum([shelf.length for shelf in shelves])

        def frequency(term: str) -> int:
            return sum([len(shelf.with_term(term)) for shelf in shelves])

        return cls(shelves, size, length / size if size else 1.0, frequency)

    @cached_property
    def at(self) -> Callable[[tuple[str, int]], Doc | None]:
        """The doc at a place of a session; asked for a thousand times a question."""
        if len(self.shelves) == 1:  # nearly always
            return self.shelves[0].places.get
        return self._at

    def _at(self, place: tuple[str, int]) -> Doc | None:
        return next((shelf.places[place] for shelf in self.shelves if place in shelf.places), None)

    def docs(self) -> Iterable[Doc]:
        return itertools.chain.from_iterable([shelf.docs for shelf in self.shelves])

    def with_rows(self, rows: Iterable[int]) -> list[Doc]:
        return [shelf.by_row[row] for row in rows for shelf in self.shelves if row in shelf.by_row]


def idf(size: int, frequency: int) -> float:
    return math.log(1 + (size - frequency + 0.5) / (frequency + 0.5))


class Matches:
    """The turns that have words of a question. `scores` is their Okapi BM25.

    The rarest words are looked up first. Once there are turns enough, words that are in more than `COMMON` turns
    bring no further ones, which would have nothing rarer: they only add to the scores of those that are there. So a
    question's cost does not grow with a scope in which everybody speaks of the same.
    """

    def __init__(self, pool: Pool, terms: Iterable[str], *, enough: int) -> None:
        self.scores: dict[Doc, float] = {}
        self._said: dict[Doc, int] = {}  # a bit for each term
        self._skipped: list[tuple[str, int]] = []  # terms that not all turns were looked up for, with their bits
        self._weights: list[float] = []
        self._shares: dict[int, float] = {0: 0.0}
        self._average = pool.average_length or 1.0
        by_rarity = sorted([(pool.frequency(term), term) for term in terms])
        for frequency, term in by_rarity:
            rarity = idf(pool.size, frequency)
            bit = 1 << len(self._weights)
            self._weights.append(rarity)
            if frequency > COMMON and len(self.scores) >= enough:
                self._skipped.append((term, bit))
                found: list[Sequence[Doc]] = [[doc for doc in self.scores if term in doc.counts]]
            else:
                found = [shelf.with_term(term) for shelf in pool.shelves] if frequency else []
            for docs in found:
                self._add(docs, term, bit, rarity * (K1 + 1))
        self._whole = sum(self._weights) or 1.0

    def _add(self, docs: Iterable[Doc], term: str, bit: int, weight: float) -> None:
        scores, said = self.scores, self._said
        fixed, by_length = K1 * (1 - B), K1 * B / self._average
        for doc in docs:
            count = doc.counts[term]
            scores[doc] = scores.get(doc, 0.0) + weight * count / (count + fixed + by_length * doc.length)
            said[doc] = said.get(doc, 0) | bit

    def said(self, doc: Doc) -> int:
        """Which of the question's words a turn has, a bit for each."""
        bits = self._said.get(doc)
        if bits is None:  # it has none of the words that all turns were looked up for
            bits = 0
            for term, bit in self._skipped:
                if term in doc.counts:
                    bits |= bit
            self._said[doc] = bits
        return bits

    def share(self, said: int) -> float:
        """How much of the question, by rarity, some words of it are: 0 to 1."""
        found = self._shares.get(said)
        if found is None:
            weights = [weight for place, weight in enumerate(self._weights) if said >> place & 1]
            found = self._shares[said] = sum(weights) / self._whole
        return found
