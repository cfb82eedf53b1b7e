"""How close chunks are to a question in meaning: the vectors of recently asked stores, kept in memory and scanned.

A chunk has several vectors, for the embedded model reads no more than about ninety words at once: the closest counts.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from app.storage import documents
from app.storage.documents import Reader

MAX_VECTORS = 100_000
"""Of one store: 150 MB at 384 numbers each. The chunks beyond are found by their words alone."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """Cosines by row of a chunk, and the rows closest, best first."""

    cosines: dict[int, float]
    closest: list[int]


class _Matrix:
    """The vectors of a store by one model. `rows[i]` has the vectors from `starts[i]` on."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.starts: list[int] = []
        self.vectors: Any = None


class Closeness:
    """Used by reading threads, one at a time. `drop` forgets a store of which chunks were removed."""

    def __init__(self, *, max_vectors: int = MAX_VECTORS) -> None:
        self.is_available = find_spec("numpy") is not None
        self._max_vectors = max_vectors
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], _Matrix] = {}

    def find(
        self, connection: Reader, words: Sequence[str], model: str, question: bytes, *, most: int
    ) -> Meaning | None:
        """The cosines of all chunks of the stores, and the closest rows; `None` when none has a vector."""
        import numpy

        asked = numpy.frombuffer(question, "<f2").astype(numpy.float32)
        rows: list[int] = []
        cosines = []
        with self._lock:
            for word in words:
                matrix = self._load(connection, word, model, len(asked))
                if matrix.rows:
                    rows += matrix.rows
                    cosines.append(numpy.maximum.reduceat(matrix.vectors @ asked, matrix.starts))
        if not rows:
            return None
        found = numpy.concatenate(cosines)
        best = numpy.argsort(-found, kind="stable")[:most]
        return Meaning(dict(zip(rows, found.tolist(), strict=True)), [rows[place] for place in best.tolist()])

    def drop(self, word: str) -> None:
        with self._lock:
            for key in [key for key in self._kept if key[0] == word]:
                del self._kept[key]

    def _load(self, connection: Reader, word: str, model: str, width: int) -> _Matrix:
        import numpy

        matrix = self._kept.setdefault((word, model), _Matrix())
        new = documents.vectors_after(connection, word, model, matrix.rows[-1] if matrix.rows else 0)
        new = [(row, vectors) for row, vectors in new if vectors and len(vectors) % (2 * width) == 0]
        size = 0 if matrix.vectors is None else len(matrix.vectors)
        if not new or size >= self._max_vectors:
            return matrix
        block = numpy.frombuffer(b"".join([vectors for _, vectors in new]), "<f2").reshape(-1, width)
        block = block.astype(numpy.float32)
        matrix.vectors = block if matrix.vectors is None else numpy.concatenate([matrix.vectors, block])
        lengths = [len(vectors) // (2 * width) for _, vectors in new]
        matrix.starts += [size + start for start in itertools.accumulate([0, *lengths[:-1]])]
        matrix.rows += [row for row, _ in new]
        return matrix
