"""Vectors of memories: float16 rows of the database, scanned with numpy; matrices kept in memory, bounded.

Without numpy there are no vectors: `Vectors.is_available` is false, and memories are found by their words alone.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from sqlalchemy import Connection, bindparam, select

from app.storage import tables

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
_LOAD = select(_v.c.row, _v.c.vector).where(
    _v.c.audience == bindparam("the_audience"), _v.c.model == bindparam("the_model"), _v.c.row > bindparam("after")
)
_PIECES = select(_v.c.row, _v.c.pieces).where(
    _v.c.row.in_(bindparam("rows", expanding=True)), _v.c.model == bindparam("the_model"), _v.c.pieces.is_not(None)
)

MAX_ROWS = 200_000
"""Vectors kept in memory over all audiences: 300 MB at 384 numbers each."""


@dataclass(slots=True)
class Scan:
    """Cosines of every vector of a scope by row, and the closest rows, best first."""

    cosines: dict[int, float]
    closest: list[int]


class _Matrix:
    """The vectors of one audience and model, with room to grow."""

    def __init__(self, width: int) -> None:
        self.rows: list[int] = []
        self._room = numpy.empty((64, width), numpy.float32)

    @property
    def vectors(self) -> Any:
        return self._room[: len(self.rows)]

    def extend(self, rows: list[int], vectors: Any) -> None:
        needed = len(self.rows) + len(rows)
        if needed > len(self._room):
            grown = numpy.empty((max(needed, 2 * len(self._room)), self._room.shape[1]), numpy.float32)
            grown[: len(self.rows)] = self.vectors
            self._room = grown
        self._room[len(self.rows) : needed] = vectors
        self.rows += rows


class Vectors:
    """The cache. Its methods run on any reading thread; one at a time."""

    def __init__(self, *, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Matrix] = OrderedDict()

    @property
    def is_available(self) -> bool:
        return numpy is not None

    def scan(
        self, connection: Connection, audiences: Sequence[str], model: str, query: bytes, *, most: int
    ) -> Scan | None:
        """Compare every vector of the audiences with the query's (float16); `None` when there is none.

        The cosines of a scope of more than `most` * 50 rows are those of the closest `most` only.
        """
        if numpy is None:
            return None
        asked = numpy.frombuffer(query, "<f2").astype(numpy.float32)
        with self._lock:
            parts = [self._load(connection, audience, model, len(asked)) for audience in audiences]
            found = [(matrix.rows, matrix.vectors @ asked) for matrix in parts if matrix is not None and matrix.rows]
            rows = [row for these, _ in found for row in these]
        if not rows:
            return None
        cosines = numpy.concatenate([values for _, values in found])
        count = min(most, len(rows))
        best = numpy.argpartition(-cosines, count - 1)[:count]
        best = best[numpy.argsort(-cosines[best], kind="stable")]
        closest = [rows[place] for place in best.tolist()]
        return Scan(dict(zip(rows, cosines.tolist(), strict=True)), closest)

    def compare_pieces(self, connection: Connection, rows: Sequence[int], model: str, query: bytes) -> dict[int, float]:
        """Late interaction (MaxSim): for each piece of the query its closest piece of the memory, averaged."""
        if numpy is None or not rows:
            return {}
        width = int.from_bytes(query[:2], "little")
        asked = _rows(query[2:], width)
        asked /= _lengths(asked)
        head = query[:2]
        stored = connection.execute(_PIECES, {"rows": list(rows), "the_model": model})
        found = [(row, pieces[2:]) for row, pieces in stored if pieces[:2] == head and len(pieces) > 2]
        if not found or not len(asked):
            return {}
        # All memories' pieces in one product: a product each takes three times as long.
        pieces = _rows(b"".join([stored for _, stored in found]), width)
        likeness = (pieces @ asked.T) / _lengths(pieces)
        starts = [0, *itertools.accumulate([len(pieces) // width for _, pieces in found[:-1]])]
        closest = numpy.maximum.reduceat(likeness, starts, axis=0).mean(axis=1)
        return dict(zip([row for row, _ in found], closest.tolist(), strict=True))

    def drop(self, audiences: Sequence[str] | None = None) -> None:
        """Forget what is cached of the audiences, or everything."""
        with self._lock:
            for key in list(self._kept):
                if audiences is None or key[0] in audiences:
                    del self._kept[key]

    def _load(self, connection: Connection, audience: str, model: str, width: int) -> _Matrix | None:
        key = (audience, model)
        matrix = self._kept.get(key)
        if matrix is None:
            matrix = _Matrix(width)
        after = matrix.rows[-1] if matrix.rows else 0
        parameters = {"the_audience": audience, "the_model": model, "after": after}
        found = connection.execute(_LOAD.order_by(_v.c.row), parameters)
        new = [(row, vector) for row, vector in found if len(vector) == 2 * width]
        if new:
            block = numpy.frombuffer(b"".join([vector for _, vector in new]), "<f2").reshape(len(new), width)
            matrix.extend([row for row, _ in new], block)
        self._kept[key] = matrix
        self._kept.move_to_end(key)
        self._make_room(key)
        return matrix

    def _make_room(self, latest: tuple[str, str]) -> None:
        total = sum([len(matrix.rows) for matrix in self._kept.values()])
        while total > self._max_rows and len(self._kept) > 1:
            key, dropped = self._kept.popitem(last=False)
            assert key != latest
            total -= len(dropped.rows)


def _rows(pieces: bytes, width: int) -> Any:
    """Rows of int8 as numbers to reckon with."""
    return numpy.frombuffer(pieces, numpy.int8).reshape(-1, width).astype(numpy.float32)


def _lengths(rows: Any) -> Any:
    return numpy.maximum(numpy.sqrt(numpy.einsum("ij,ij->i", rows, rows)), 1e-6)[:, None]
