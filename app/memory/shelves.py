"""Shelves: the turns of recently asked scopes, indexed in memory and brought up to date before each question.

A scope of up to `SMALL` memories is kept whole and ranked whole. Of a larger one the engine's full text and the
vectors nominate candidates, which are put on a shelf of their own with their neighbours.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.memory import text
from app.memory.cues import day_of, signs_of
from app.memory.lexical import Doc, Pool, Shelf
from app.storage import memories
from app.storage.memories import Indexed, Reader

SMALL = 5_000
MAX_DOCS = 50_000
"""Turns kept over all scopes, about 2 KB each."""
NOMINATED = 100


@dataclass(slots=True)
class _Kept:
    shelf: Shelf
    names: frozenset[str] = frozenset()
    last_row: int = 0


class Shelves:
    """Used by reading threads; `lock` is held while a shelf is written or ranked."""

    def __init__(self, *, max_docs: int = MAX_DOCS, small: int = SMALL) -> None:
        self.lock = threading.Lock()
        self._max_docs = max_docs
        self._small = small
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def refresh(self, connection: Reader, audiences: Sequence[str]) -> frozenset[str] | None:
        """Bring the shelves of a small scope up to date; the participants' names, or `None` for a large scope."""
        known = [self._kept.get(audience) for audience in audiences]
        if sum([len(kept.shelf.docs) for kept in known if kept]) > self._small:
            return None
        if not all(known) and memories.is_larger(connection, audiences, self._small):
            return None
        names: set[str] = set()
        for audience in audiences:
            names |= self._refresh(connection, audience).names
        return frozenset(names)

    def whole(self, audiences: Sequence[str]) -> Pool:
        """After `refresh`, under the lock."""
        kept = [self._kept.get(audience) for audience in audiences]
        return Pool.of([one.shelf for one in kept if one is not None and one.shelf.docs])

    def drop(self, audiences: Iterable[str] | None = None) -> None:
        with self.lock:
            for audience in list(self._kept) if audiences is None else audiences:
                self._kept.pop(audience, None)

    def _refresh(self, connection: Reader, audience: str) -> _Kept:
        kept = self._kept.get(audience) or _Kept(Shelf())
        start = kept.last_row
        rows = memories.after(connection, audience, start, limit=self._small + 1)
        docs = [make_doc(row) for row in rows]  # outside the lock: a thousand turns take 40 ms
        with self.lock:
            if kept.last_row == start and rows:
                for doc in docs:
                    kept.shelf.add(doc)
                kept.last_row = rows[-1].row
                kept.names |= frozenset().union(*[doc.names for doc in docs])
            self._kept[audience] = kept
            self._kept.move_to_end(audience)
            self._make_room()
        return kept

    def _make_room(self) -> None:
        total = sum([len(kept.shelf.docs) for kept in self._kept.values()])
        while total > self._max_docs and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            total -= len(dropped.shelf.docs)


def nominate(connection: Reader, audiences: Sequence[str], terms: Sequence[str], closest: Sequence[int]) -> Pool:
    """A pool of candidates out of a large scope, with the neighbours their cues need."""
    size = memories.size(connection, audiences)
    rows, frequencies = memories.candidates(connection, audiences, terms, total=size, limit=NOMINATED)
    found = memories.indexed(connection, audiences, list(dict.fromkeys([*rows, *closest[:NOMINATED]])))
    here = {(row.session_id, row.place) for row in found}
    # A candidate may be the turn after a hit, and asks for two before it.
    wanted = {(row.session_id, row.place + step) for row in found for step in (-2, -1, 1, 2)} - here
    found += memories.around(connection, audiences, sorted(wanted)) if wanted else []
    shelf = Shelf()
    for row in found:
        shelf.add(make_doc(row))
    average = shelf.length / max(1, len(shelf.docs))
    return Pool([shelf], size, average, lambda term: frequencies.get(term, 0))


def make_doc(row: Indexed) -> Doc:
    terms = row.terms.split()
    return Doc(
        row=row.row,
        session_id=row.session_id,
        place=row.place,
        role=row.role,
        names=text.name_parts([row.speaker]),
        created_ms=row.created_ms,
        day=day_of(row.created_ms),
        counts=dict(Counter(terms)),
        length=len(terms),
        signs=signs_of(row.text),
    )
