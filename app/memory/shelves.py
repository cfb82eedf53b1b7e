"""Shelves: a cache of the memories of recently asked scopes, brought up to date before each question.

A scope of up to `SMALL` memories is cached and ranked as a whole. In a larger one the database's full text and the
vectors nominate candidates, which get a shelf of their own with their neighbours.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.memory.doc import Doc
from app.memory.shelf import Pool, Shelf
from app.search.lexical import Corpus
from app.search.mark import Mark
from app.storage import memory_index
from app.storage.connection import Connection

SMALL = 5_000
MAX_DOCS = 20_000
"""Memories cached over all scopes, about 3 KB each; reading those of one user again takes 2 ms."""
MAX_SCOPES = 10_000
NOMINATED = 60


@dataclass(slots=True)
class _Kept:
    mark: Mark
    shelf: Shelf = field(default_factory=Shelf)
    names: frozenset[str] = frozenset()

    def lacks(self, row: int) -> bool:
        return row not in self.shelf.by_row

    def add(self, docs: Sequence[Doc]) -> None:
        if docs:
            self.shelf.add(docs)
            self.names |= frozenset().union(*[doc.names for doc in docs])
            self.mark.reach(docs[-1].row)


@dataclass(frozen=True, slots=True)
class Whole:
    """A small scope: its speakers' names and its shelves. Shelves grow under `Shelves.lock`, so rank under it."""

    names: frozenset[str]
    shelves: tuple[Shelf, ...]


@dataclass(slots=True)
class _Large:
    """An audience too large to cache: its number of memories up to a row, and the frequencies of common terms."""

    size: int = 0
    last_row: int = 0
    frequent: dict[str, int] = field(default_factory=dict)


class Shelves:
    """The cache. Its methods run on reading threads; `lock` is held while a shelf is written or ranked."""

    def __init__(self, *, max_docs: int = MAX_DOCS, small: int = SMALL, again_seconds: float = 0.0) -> None:
        """`again_seconds`: see `Mark`."""
        self.lock = threading.Lock()
        self._again_seconds = again_seconds
        self._max_docs = max_docs
        self._small = small
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._large: dict[str, _Large] = {}
        self._drops = 0

    def refresh(self, connection: Connection, audiences: Sequence[str]) -> Whole | None:
        """Bring the shelves of a small scope up to date; `None` for a large scope."""
        if not self._large.keys().isdisjoint(audiences):
            return None
        drops = self._drops
        known = {audience: self._kept.get(audience) or _Kept(Mark(self._again_seconds)) for audience in audiences}
        since = {audience: kept.mark.since() for audience, kept in known.items()}
        read = memory_index.after(connection, since, limit=self._small)
        found = {audience: [row for row in read[audience] if kept.lacks(row.row)] for audience, kept in known.items()}
        if sum([len(kept.shelf.docs) + len(found[audience]) for audience, kept in known.items()]) > self._small:
            self._mark_large(connection, audiences, drops)
            return None
        new = {audience: [Doc(row) for row in rows] for audience, rows in found.items()}  # outside the lock
        with self.lock:
            for audience, kept in known.items():
                kept.add([doc for doc in new[audience] if kept.lacks(doc.row)])  # another thread may have added some
                if drops == self._drops:  # else what was read may have been deleted meanwhile
                    self._kept[audience] = kept
                    self._kept.move_to_end(audience)
            if any(new.values()) or len(self._kept) > MAX_SCOPES:
                self._evict()
        names = frozenset().union(*[kept.names for kept in known.values()])
        return Whole(names, tuple([kept.shelf for kept in known.values() if kept.shelf.docs]))

    def look_up(self, connection: Connection, audiences: Sequence[str]) -> tuple[int, dict[str, int]]:
        """The number of memories in a large scope, and the dict in which frequencies of its common terms are cached."""
        large = {audience: self._large.get(audience) or _Large() for audience in audiences}
        counts = memory_index.count(connection, {audience: one.last_row for audience, one in large.items()})
        with self.lock:
            for audience, (new, last_row) in counts.items():
                if last_row > large[audience].last_row:
                    large[audience].size += new
                    large[audience].last_row = last_row
        largest = max(large.values(), key=lambda one: one.size)
        return sum([one.size for one in large.values()]), largest.frequent

    def _mark_large(self, connection: Connection, audiences: Sequence[str], drops: int) -> None:
        """Mark the largest audience as large if it has more than half of `small` memories."""
        counts = memory_index.count(connection, dict.fromkeys(audiences, 0))
        largest = max(counts, key=lambda audience: counts[audience])
        size, last_row = counts[largest]
        if size <= self._small // 2:
            return
        common = memory_index.common(connection, size)
        with self.lock:
            if drops == self._drops:
                self._large[largest] = _Large(size, last_row, common)

    def drop(self, audiences: Iterable[str] | None = None) -> None:
        """Remove some audiences, or everything, from the cache."""
        with self.lock:
            self._drops += 1
            for audience in [*self._kept, *self._large] if audiences is None else audiences:
                self._kept.pop(audience, None)
                self._large.pop(audience, None)

    def _evict(self) -> None:
        total = sum([len(kept.shelf.docs) for kept in self._kept.values()])
        while total > self._max_docs and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            total -= len(dropped.shelf.docs)
        while len(self._kept) > MAX_SCOPES:  # most of them are empty: sessions without memories of their own
            self._kept.popitem(last=False)


def nominate(
    connection: Connection,
    audiences: Sequence[str],
    terms: Sequence[str],
    closest: Sequence[int],
    *,
    size: int,
    frequent: dict[str, int],
) -> Pool:
    """Candidates out of a large scope of `size` memories, with the neighbours that their cues need."""
    rows, frequencies = memory_index.candidates(
        connection, audiences, terms, total=size, limit=NOMINATED, frequent=frequent
    )
    found = memory_index.indexed(connection, audiences, list(dict.fromkeys([*rows, *closest[:NOMINATED]])))
    here = {(row.session_id, row.place) for row in found}
    # A candidate may be the turn after a hit, and its cues look at the two turns before it.
    wanted = {(row.session_id, row.place + step) for row in found for step in (-2, -1, 1, 2)} - here
    found += memory_index.around(connection, audiences, sorted(wanted))
    shelf = Shelf()
    shelf.add([Doc(row) for row in found])
    corpus = Corpus.of_candidates(shelf.index, size=size, frequency=lambda term: frequencies.get(term, 0))
    return Pool([shelf], corpus)
