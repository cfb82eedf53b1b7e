"""Vectors: float16 rows of the database, cached as matrices in memory and scanned with numpy.

Without numpy there are none: `is_available` is false, and everything is found by keyword only.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from app.search.lazy_numpy import numpy
from app.search.mark import Mark

MAX_VECTORS = 200_000
"""Vectors kept in memory over all owners: 300 MB at 384 numbers each."""

Load: TypeAlias = Callable[[Mapping[str, int]], Iterable[tuple[str, int, bytes]]]
"""Reads what each owner has beyond a row, by one model: (owner, row, vector or vectors), in any order."""


def is_available() -> bool:
    return numpy is not None


class Scan:
    """The cosines of the owners' rows with a question's vector. `closest`: the rows with the greatest, best first."""

    def __init__(self, parts: Sequence[_Part], query: Any, most: int) -> None:
        self._parts = [(part, _cosines(part, query)) for part in parts]
        rows = numpy.concatenate([part.rows for part, _ in self._parts])
        cosines = numpy.concatenate([values for _, values in self._parts])
        count = min(most, len(rows))
        best = numpy.argpartition(cosines, len(cosines) - count)[-count:]
        best = best[numpy.argsort(-cosines[best], kind="stable")]
        self.closest: list[int] = rows[best].tolist()

    def cosines(self, rows: Collection[int]) -> dict[int, float]:
        """The cosines of some rows; rows without a vector are left out."""
        found: dict[int, float] = {}
        for part, values in self._parts:
            here, places = _find(part.rows, rows)
            found.update(zip(here.tolist(), values[places].tolist(), strict=True))
        return found

    def alike(self, rows: Collection[int], least: float) -> set[tuple[int, int]]:
        """The pairs of some rows whose (first) vectors' cosine is at least `least`, each pair in both orders."""
        found = [(here, part.first(places)) for part, _ in self._parts for here, places in [_find(part.rows, rows)]]
        here, vectors = numpy.concatenate([one for one, _ in found]), numpy.concatenate([two for _, two in found])
        pairs = numpy.argwhere(vectors @ vectors.T >= least)
        return {(one, other) for one, other in here[pairs].tolist() if one != other}


class _Part(NamedTuple):
    """One owner's rows in ascending order. The vectors of `rows[i]` begin at `vectors[starts[i]]`."""

    rows: Any
    starts: Any
    vectors: Any

    def first(self, places: Any) -> Any:
        return self.vectors[self.starts[places]]


def _cosines(part: _Part, query: Any) -> Any:
    values = part.vectors @ query
    if len(part.rows) == len(part.vectors):
        return values
    return numpy.maximum.reduceat(values, part.starts)


def _find(sorted_rows: Any, rows: Collection[int]) -> tuple[Any, Any]:
    """Which of `rows` are among the sorted ones, and at what places."""
    wanted = numpy.fromiter(rows, numpy.int64, len(rows))
    places = numpy.minimum(numpy.searchsorted(sorted_rows, wanted), len(sorted_rows) - 1)
    here = sorted_rows[places] == wanted
    return wanted[here], places[here]


class _Matrix:
    """The vectors of one owner and model in the order of their rows, with room to grow."""

    def __init__(self, width: int, mark: Mark) -> None:
        self.mark = mark
        self.size = 0
        """Vectors."""
        self._count = 0
        self.width = width
        self._rows = numpy.empty(64, numpy.int64)
        self._starts = numpy.empty(64, numpy.int64)
        self._vectors = numpy.empty((64, width), numpy.float32)

    @property
    def last(self) -> int:
        return self.mark.last

    def has(self, row: int) -> bool:
        if row > self.last:
            return False
        place = numpy.searchsorted(self._rows[: self._count], row)
        return bool(place < self._count and self._rows[place] == row)

    def view(self) -> _Part:
        """The present content. Later additions do not change it."""
        return _Part(self._rows[: self._count], self._starts[: self._count], self._vectors[: self.size])

    def extend(self, found: list[tuple[int, bytes]]) -> None:
        found.sort()
        block = numpy.frombuffer(b"".join([vectors for _, vectors in found]), "<f2").reshape(-1, self.width)
        count, size = self._count + len(found), self.size + len(block)
        self._rows = _with_room(self._rows, self._count, count)
        self._starts = _with_room(self._starts, self._count, count)
        self._vectors = _with_room(self._vectors, self.size, size)
        lengths = [len(vectors) // (2 * self.width) for _, vectors in found]
        self._rows[self._count : count] = [row for row, _ in found]
        self._starts[self._count : count] = list(itertools.accumulate(lengths[:-1], initial=self.size))
        self._vectors[self.size : size] = block
        self._count, self.size = count, size
        self.mark.reach(found[-1][0])


def _with_room(array: Any, used: int, needed: int) -> Any:
    """The array, or a copy of at least twice its length when `needed` elements do not fit."""
    if needed <= len(array):
        return array
    larger = numpy.empty((max(needed, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[:used] = array[:used]
    return larger


class Vectors:
    """The cache. Its methods run on any reading thread; none waits while another thread reads the database."""

    def __init__(
        self,
        *,
        max_vectors: int | None = MAX_VECTORS,
        max_per_owner: int | None = None,
        several: bool = False,
        again_seconds: float = 0.0,
    ) -> None:
        """`max_vectors`: over all owners; the least recently used owner is evicted first, `None` evicts nothing.

        `max_per_owner`: an owner's rows beyond are not loaded. `several`: a row may have more than one vector, of
        which the closest counts. `again_seconds`: see `Mark`.
        """
        self._max_vectors = max_vectors
        self._max_per_owner = max_per_owner
        self._several = several
        self._again_seconds = again_seconds
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Matrix] = OrderedDict()
        self._drops = 0

    @property
    def size(self) -> int:
        """Vectors in memory."""
        return sum([matrix.size for matrix in self._kept.values()])

    def scan(self, owners: Sequence[str], model: str, query: bytes, *, load: Load, most: int) -> Scan | None:
        """Compare every vector of the owners with the query's (float16); `None` when they have none."""
        if numpy is None:
            return None
        asked = numpy.frombuffer(query, "<f2").astype(numpy.float32)
        parts = [part for part in self._load(owners, model, len(asked), load) if len(part.rows)]
        return Scan(parts, asked, most) if parts else None

    def drop(self, owners: Collection[str] | None = None) -> None:
        """Remove the owners' vectors from the cache, or everything."""
        with self._lock:
            self._drops += 1
            for key in list(self._kept):
                if owners is None or key[0] in owners:
                    del self._kept[key]

    def _load(self, owners: Sequence[str], model: str, width: int, load: Load) -> list[_Part]:
        """The vectors of each owner, after reading what is new since the last time."""
        with self._lock:
            drops = self._drops
            known = {owner: self._matrix(owner, model, width) for owner in owners}
            since = {owner: matrix.mark.since() for owner, matrix in known.items() if not self._is_full(matrix)}
        new = self._read(load, since, known)
        late = [owner for owner, found in new.items() if min(found)[0] < known[owner].last]
        if late:  # a matrix is in the order of its rows
            known |= {owner: self._empty(width) for owner in late}
            new |= self._read(load, dict.fromkeys(late, 0), known)
        with self._lock:
            for owner, found in new.items():
                matrix = known[owner]
                if found := [one for one in found if one[0] > matrix.last]:  # another thread may have added some
                    matrix.extend(self._cut(found, matrix.size, 2 * width))
            for owner, matrix in known.items():
                if drops == self._drops and matrix.size:  # else what was read may have been removed meanwhile
                    self._kept[owner, model] = matrix
                    self._kept.move_to_end((owner, model))
            if new:
                self._evict()
            return [matrix.view() for matrix in known.values()]

    def _read(
        self, load: Load, since: Mapping[str, int], known: Mapping[str, _Matrix]
    ) -> dict[str, list[tuple[int, bytes]]]:
        """What the owners have beyond a row and their matrices have not."""
        new: dict[str, list[tuple[int, bytes]]] = {}
        for owner, row, vectors in load(since):
            matrix = known[owner]
            if self._fits(vectors, 2 * matrix.width) and not matrix.has(row):
                new.setdefault(owner, []).append((row, vectors))
        return new

    def _matrix(self, owner: str, model: str, width: int) -> _Matrix:
        """The owner's matrix; an empty one if there is none of this width."""
        kept = self._kept.get((owner, model))
        return kept if kept is not None and kept.width == width else self._empty(width)

    def _empty(self, width: int) -> _Matrix:
        return _Matrix(width, Mark(self._again_seconds))

    def _fits(self, vectors: bytes, length: int) -> bool:
        """Whether the vectors have the query's width. They have not after the server's model changed its width."""
        return len(vectors) == length or (self._several and len(vectors) > 0 and len(vectors) % length == 0)

    def _is_full(self, matrix: _Matrix) -> bool:
        return self._max_per_owner is not None and matrix.size >= self._max_per_owner

    def _cut(self, found: list[tuple[int, bytes]], size: int, length: int) -> list[tuple[int, bytes]]:
        """The first rows of `found`, up to and including the one that makes the owner's matrix full."""
        if self._max_per_owner is None:
            return found
        found.sort()
        kept = []
        for row, vectors in found:
            if size >= self._max_per_owner:
                break
            kept.append((row, vectors))
            size += len(vectors) // length
        return kept

    def _evict(self) -> None:
        while self._max_vectors is not None and self.size > self._max_vectors and len(self._kept) > 1:
            self._kept.popitem(last=False)
