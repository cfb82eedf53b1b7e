"""Vectors of memories: float16 rows of the database, scanned with numpy; matrices kept in memory, bounded.

Without numpy there are no vectors: `Vectors.is_available` is false, and memories are found by their words alone.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from app.storage import tables
from app.storage.memory_index import beyond, beyond_parameters

# Its products are a millisecond's work: threads for them wait on one another longer than that when the machine is
# busy (measured: twice the CPU and twice the p99). It reads this once, when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class _AtFirstUse:
    """numpy, loaded when the first vector is looked at: 0.1 s and 10 MB that a server without memories does not pay."""

    def __getattr__(self, name: str) -> Any:
        global numpy
        import numpy

        return getattr(numpy, name)


# An extra: pip install 'hector[memory]'
numpy: Any = _AtFirstUse() if find_spec("numpy") is not None else None

_v = tables.memory_vectors
_PIECES = select(_v.c.row, _v.c.pieces).where(
    _v.c.row.in_(bindparam("rows", expanding=True)), _v.c.model == bindparam("the_model"), _v.c.pieces.is_not(None)
)

MAX_ROWS = 200_000
"""Vectors kept in memory over all audiences: 300 MB at 384 numbers each."""


@lru_cache
def _load(audiences: int) -> Select[Any]:
    query = select(_v.c.audience, _v.c.row, _v.c.vector)
    return query.where(_v.c.model == bindparam("the_model"), beyond(_v, audiences))


class Scan:
    """What a scope's vectors have in common with a question's: the rows closest, best first, and their cosines."""

    def __init__(self, parts: list[tuple[Any, Any]], query: Any, most: int) -> None:
        self._parts = [(rows, vectors, vectors @ query) for rows, vectors in parts]
        rows = numpy.concatenate([rows for rows, _, _ in self._parts])
        cosines = numpy.concatenate([values for _, _, values in self._parts])
        count = min(most, len(rows))
        best = numpy.argpartition(cosines, len(cosines) - count)[-count:]
        best = best[numpy.argsort(-cosines[best], kind="stable")]
        self.closest: list[int] = rows[best].tolist()

    def cosines(self, rows: Collection[int]) -> dict[int, float]:
        """Those of some rows, as far as they have a vector."""
        found: dict[int, float] = {}
        for these, _, values in self._parts:
            here, places = _find(these, rows)
            found.update(zip(here.tolist(), values[places].tolist(), strict=True))
        return found

    def alike(self, rows: Collection[int], least: float) -> set[tuple[int, int]]:
        """The pairs of some rows whose vectors' cosine is at least `least`, each both ways."""
        found = [(here, vectors[places]) for these, vectors, _ in self._parts for here, places in [_find(these, rows)]]
        here, vectors = numpy.concatenate([one for one, _ in found]), numpy.concatenate([two for _, two in found])
        pairs = numpy.argwhere(vectors @ vectors.T >= least)
        return {(one, other) for one, other in here[pairs].tolist() if one != other}


def _find(sorted_rows: Any, rows: Collection[int]) -> tuple[Any, Any]:
    """Which of `rows` are among the sorted ones, and at what places."""
    wanted = numpy.fromiter(rows, numpy.int64, len(rows))
    places = numpy.minimum(numpy.searchsorted(sorted_rows, wanted), len(sorted_rows) - 1)
    here = sorted_rows[places] == wanted
    return wanted[here], places[here]


class _Matrix:
    """The vectors of one audience and model in the order of their rows, with room to grow."""

    def __init__(self, width: int) -> None:
        self.size = 0
        self._rows = numpy.empty(64, numpy.int64)
        self._room = numpy.empty((64, width), numpy.float32)

    @property
    def last(self) -> int:
        return int(self._rows[self.size - 1]) if self.size else 0

    def view(self) -> tuple[Any, Any]:
        """Rows and vectors as they are now; what is added later does not change them."""
        return self._rows[: self.size], self._room[: self.size]

    def extend(self, found: list[tuple[int, bytes]]) -> None:
        found.sort()
        needed = self.size + len(found)
        if needed > len(self._rows):
            room = max(needed, 2 * len(self._rows))
            old_rows, old = self.view()
            self._rows, self._room = (
                numpy.empty(room, numpy.int64),
                numpy.empty((room, old.shape[1]), numpy.float32),
            )
            self._rows[: self.size], self._room[: self.size] = old_rows, old
        block = numpy.frombuffer(b"".join([vector for _, vector in found]), "<f2")
        self._rows[self.size : needed] = [row for row, _ in found]
        self._room[self.size : needed] = block.reshape(len(found), -1)
        self.size = needed


class Vectors:
    """The cache. Its methods run on any reading thread; nobody waits for another's database."""

    def __init__(self, *, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Matrix] = OrderedDict()
        self._drops = 0

    @property
    def is_available(self) -> bool:
        return numpy is not None

    @property
    def kept_rows(self) -> int:
        """Vectors in memory."""
        return sum([matrix.size for matrix in self._kept.values()])

    def scan(
        self, connection: Connection, audiences: Sequence[str], model: str, query: bytes, *, most: int
    ) -> Scan | None:
        """Compare every vector of the audiences with the query's (float16); `None` when there is none."""
        if numpy is None:
            return None
        asked = numpy.frombuffer(query, "<f2").astype(numpy.float32)
        parts = self._load(connection, audiences, model, len(asked))
        found = [(rows, vectors) for rows, vectors in parts if len(rows)]
        return Scan(found, asked, most) if found else None

    def compare_pieces(
        self, connection: Connection, groups: Mapping[int, Sequence[int]], model: str, query: bytes
    ) -> dict[int, tuple[float, float]]:
        """Late interaction (MaxSim): for each piece of the query its closest piece, averaged.

        `groups` names rows and, for each, the rows said before it. The answer for a row: the closeness of its own
        pieces, and that of all the group's.
        """
        if numpy is None or not groups:
            return {}
        rows = {*groups, *itertools.chain.from_iterable(groups.values())}
        stored = connection.execute(_PIECES, {"rows": list(rows), "the_model": model})
        return compare_pieces({one.row: one.pieces for one in stored}, groups, query)

    def drop(self, audiences: Sequence[str] | None = None) -> None:
        """Forget what is cached of the audiences, or everything."""
        with self._lock:
            self._drops += 1
            for key in list(self._kept):
                if audiences is None or key[0] in audiences:
                    del self._kept[key]

    def _load(self, connection: Connection, audiences: Sequence[str], model: str, width: int) -> list[tuple[Any, Any]]:
        """Rows and vectors of each audience; what is new since the last time is read."""
        with self._lock:
            drops = self._drops
            known = {audience: self._kept.get((audience, model)) or _Matrix(width) for audience in audiences}
            since = {audience: matrix.last for audience, matrix in known.items()}
        new: dict[str, list[tuple[int, bytes]]] = {}
        for number, parameters in beyond_parameters(since):
            for audience, row, vector in connection.execute(_load(number), parameters | {"the_model": model}):
                if len(vector) == 2 * width:
                    new.setdefault(audience, []).append((row, vector))
        with self._lock:
            for audience, matrix in known.items():
                if audience in new and matrix.last == since[audience]:  # else another thread has added them
                    matrix.extend(new[audience])
                if drops == self._drops and matrix.size:  # else what was read may have been forgotten meanwhile
                    self._kept[audience, model] = matrix
                    self._kept.move_to_end((audience, model))
            if new:
                self._make_room()
            return [matrix.view() for matrix in known.values()]

    def _make_room(self) -> None:
        while self.kept_rows > self._max_rows and len(self._kept) > 1:
            self._kept.popitem(last=False)


def compare_pieces(
    stored: Mapping[int, bytes], groups: Mapping[int, Sequence[int]], query: bytes
) -> dict[int, tuple[float, float]]:
    """See `Vectors.compare_pieces`; `stored` has the pieces by row."""
    head, width = query[:2], int.from_bytes(query[:2], "little")
    asked = _rows(query[2:], width)
    found = {row: pieces[2:] for row, pieces in stored.items() if pieces[:2] == head and len(pieces) > 2}
    if not found or not len(asked):
        return {}
    asked /= _lengths(asked)
    # All memories' pieces in one product: a product each takes three times as long.
    pieces = _rows(b"".join(found.values()), width)
    likeness = (pieces @ asked.T) / _lengths(pieces)
    starts = [0, *itertools.accumulate([len(pieces) // width for pieces in list(found.values())[:-1]])]
    closest = numpy.maximum.reduceat(likeness, starts, axis=0)
    alone = closest.mean(axis=1).tolist()
    places = {row: place for place, row in enumerate(found)}
    result = {}
    for row, before in groups.items():
        if row in places:
            together = closest[[places[one] for one in (row, *before) if one in places]]
            result[row] = (alone[places[row]], float(together.max(axis=0).mean()))
    return result


def _rows(pieces: bytes, width: int) -> Any:
    """Rows of int8 as numbers to reckon with."""
    return numpy.frombuffer(pieces, numpy.int8).reshape(-1, width).astype(numpy.float32)


def _lengths(rows: Any) -> Any:
    return numpy.maximum(numpy.sqrt(numpy.einsum("ij,ij->i", rows, rows)), 1e-6)[:, None]
