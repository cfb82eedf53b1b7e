"""Shelf: the turns that one audience sees, in memory, found by term, row or place. Pool: the shelves of a question."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from app.memory.doc import Doc
from app.search.lexical import Corpus, TermIndex


@dataclass(slots=True)
class Shelf:
    """The turns of one audience, or the candidates of a large one. `places`: by session and place in it."""

    index: TermIndex[Doc] = field(default_factory=TermIndex)
    by_row: dict[int, Doc] = field(default_factory=dict)
    places: dict[tuple[str, int], Doc] = field(default_factory=dict)

    @property
    def docs(self) -> Sequence[Doc]:
        return self.index.texts

    def add(self, docs: Sequence[Doc]) -> None:
        for doc in docs:
            self.by_row[doc.row] = doc
            self.places[doc.session_id, doc.place] = doc
        self.index.add(docs)


@dataclass
class Pool:
    """What a question is ranked against: the shelves of every audience that its asker belongs to."""

    shelves: Sequence[Shelf]
    corpus: Corpus[Doc]

    @classmethod
    def of(cls, shelves: Sequence[Shelf]) -> Pool:
        return cls(shelves, Corpus.of([shelf.index for shelf in shelves]))

    @cached_property
    def at(self) -> Callable[[tuple[str, int]], Doc | None]:
        """The doc at a place of a session, or `None`. Called about a thousand times per question."""
        if len(self.shelves) == 1:  # nearly always
            return self.shelves[0].places.get
        return self._at

    def _at(self, place: tuple[str, int]) -> Doc | None:
        return next((shelf.places[place] for shelf in self.shelves if place in shelf.places), None)

    def docs(self) -> Iterable[Doc]:
        return itertools.chain.from_iterable([shelf.docs for shelf in self.shelves])

    def with_rows(self, rows: Iterable[int]) -> list[Doc]:
        return [shelf.by_row[row] for row in rows for shelf in self.shelves if row in shelf.by_row]
