"""Shelves: the turns of recently asked scopes, indexed in memory and brought up to date before each question.

A scope of up to `SMALL` memories is kept whole and ranked whole. Of a larger one the engine's full text and the
vectors nominate candidates, which are put on a shelf of their own with their neighbours.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.memory.doc import Doc
from app.memory.lexical import Pool, Shelf
from app.storage import memories
from app.storage.memories import Reader

SMALL = 5_000
MAX_DOCS = 50_000
"""Turns kept over all scopes, about 2 KB each."""
NOMINATED = 100


@dataclass(slots=True)
class _Kept:
    shelf: Shelf = field(default_factory=Shelf)
    names: frozenset[str] = frozenset()
    last_row: int = 0


@dataclass(frozen=True, slots=True)
class Whole:
    """A small scope: the names of who speaks in it, and its shelves. They grow under the lock, so rank under it."""

    names: frozenset[str]
    shelves: tuple[Shelf, ...]


@dataclass(slots=True)
class _Counted:
    """How many memories a scope had up to a row."""

    size: int = 0
    last_row: int = 0


class Shelves:
    """Used by reading threads; `lock` is held while a shelf is written or ranked."""

    def __init__(self, *, max_docs: int = MAX_DOCS, small: int = SMALL) -> None:
        self.lock = threading.Lock()
        self._max_docs = max_docs
        self._small = small
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._large: dict[str, _Counted] = {}
        self._drops = 0

    def refresh(self, connection: Reader, audiences: Sequence[str]) -> Whole | None:
        """Bring the shelves of a small scope up to date; `None` for a large scope."""
        known = [self._kept.get(audience) for audience in audiences]
        if all(known):
            size = sum([len(kept.shelf.docs) for kept in known if kept])
        else:
            size = self.size(connection, audiences)
        if size > self._small:
            return None
        kept = [self._refresh(connection, audience) for audience in audiences]
        names = frozenset().union(*[one.names for one in kept])
        return Whole(names, tuple([one.shelf for one in kept if one.shelf.docs]))

    def size(self, connection: Reader, audiences: Sequence[str]) -> int:
        """How many memories the audiences see; of large ones only what is new is counted."""
        return sum([self._count(connection, audience) for audience in audiences])

    def drop(self, audiences: Iterable[str] | None = None) -> None:
        with self.lock:
            self._drops += 1
            for audience in [*self._kept, *self._large] if audiences is None else audiences:
                self._kept.pop(audience, None)
                self._large.pop(audience, None)

    def _count(self, connection: Reader, audience: str) -> int:
        drops, counted = self._drops, self._large.get(audience, _Counted())
        new, last_row = memories.count(connection, audience, after=counted.last_row)
        counted = _Counted(counted.size + new, last_row)
        with self.lock:
            if counted.size > self._small and drops == self._drops:
                self._large[audience] = counted
        return counted.size

    def _refresh(self, connection: Reader, audience: str) -> _Kept:
        drops, kept = self._drops, self._kept.get(audience) or _Kept()
        start = kept.last_row
        rows = memories.after(connection, audience, start, limit=self._small + 1)
        docs = [Doc(row) for row in rows]  # outside the lock: a thousand turns take 10 ms
        with self.lock:
            if kept.last_row == start and rows:
                for doc in docs:
                    kept.shelf.add(doc)
                kept.last_row = rows[-1].row
                kept.names |= frozenset().union(*[doc.names for doc in docs])
            if drops == self._drops:  # else what was read may have been forgotten meanwhile
                self._kept[audience] = kept
                self._kept.move_to_end(audience)
                self._make_room()
        return kept

    def _make_room(self) -> None:
        total = sum([len(kept.shelf.docs) for kept in self._kept.values()])
        while total > self._max_docs and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            total -= len(dropped.shelf.docs)


def nominate(
    connection: Reader, audiences: Sequence[str], terms: Sequence[str], closest: Sequence[int], *, size: int
) -> Pool:
    """A pool of candidates out of a large scope of `size` memories, with the neighbours their cues need."""
    rows, frequencies = memories.candidates(connection, audiences, terms, total=size, limit=NOMINATED)
    found = memories.indexed(connection, audiences, list(dict.fromkeys([*rows, *closest[:NOMINATED]])))
    here = {(row.session_id, row.place) for row in found}
    # A candidate may be the turn after a hit, and asks for two before it.
    wanted = {(row.session_id, row.place + step) for row in found for step in (-2, -1, 1, 2)} - here
    found += memories.around(connection, audiences, sorted(wanted))
    shelf = Shelf()
    for row in found:
        shelf.add(Doc(row))
    average = shelf.length / max(1, len(shelf.docs))
    return Pool([shelf], size, average, lambda term: frequencies.get(term, 0))
