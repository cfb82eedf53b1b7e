"""Turns by their words: an inverted index of a scope in memory, and BM25 over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

from app.memory.cues import Signs

K1 = 1.2
B = 0.2
"""Length normalisation: low, for a longer turn says more here (facts: b=.75 costs 3 points of recall)."""


@dataclass(slots=True, eq=False)
class Doc:
    """One remembered turn as the ranking sees it; its text stays in the store."""

    row: int
    session_id: str
    place: int
    role: str
    names: frozenset[str]
    created_ms: int
    day: date
    counts: dict[str, int]
    length: int
    signs: Signs


@dataclass(slots=True)
class Shelf:
    """The turns of one audience, or the candidates of a larger one."""

    docs: list[Doc] = field(default_factory=list)
    postings: dict[str, list[Doc]] = field(default_factory=dict)
    places: dict[tuple[str, int], Doc] = field(default_factory=dict)
    length: int = 0

    def add(self, doc: Doc) -> None:
        self.docs.append(doc)
        self.places[doc.session_id, doc.place] = doc
        self.length += doc.length
        for term in doc.counts:
            self.postings.setdefault(term, []).append(doc)


@dataclass(slots=True)
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
            return sum([len(shelf.postings.get(term, ())) for shelf in shelves])

        return cls(shelves, size, length / size if size else 1.0, frequency)

    def at(self, session_id: str, place: int) -> Doc | None:
        if len(self.shelves) == 1:  # nearly always, and asked for a thousand times a question
            return self.shelves[0].places.get((session_id, place))
        for shelf in self.shelves:
            doc = shelf.places.get((session_id, place))
            if doc is not None:
                return doc
        return None

    def docs(self) -> Iterable[Doc]:
        return (doc for shelf in self.shelves for doc in shelf.docs)


def idf(size: int, frequency: int) -> float:
    return math.log(1 + (size - frequency + 0.5) / (frequency + 0.5))


def bm25(pool: Pool, terms: Iterable[str]) -> dict[Doc, float]:
    """Okapi BM25 of every turn that has one of the terms."""
    scores: dict[Doc, float] = {}
    average = pool.average_length or 1.0
    for term in terms:
        frequency = pool.frequency(term)
        if not frequency:
            continue
        weight = idf(pool.size, frequency) * (K1 + 1)
        for shelf in pool.shelves:
            for doc in shelf.postings.get(term, ()):
                count = doc.counts[term]
                norm = K1 * (1 - B + B * doc.length / average)
                scores[doc] = scores.get(doc, 0.0) + weight * count / (count + norm)
    return scores
