"""Late interaction (MaxSim): texts compared with a question token by token instead of by one vector each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from app.search.lazy_numpy import numpy


def compare_pieces(
    stored: Mapping[int, bytes], groups: Mapping[int, Sequence[int]], query: bytes
) -> dict[int, tuple[float, float]]:
    """For each token of the query the similarity of its closest token, averaged over the query.

    `stored`: the token vectors of texts by row, `query`: those of the question, both as `Embedding.pieces` holds them.
    `groups` names the rows to score and, for each, the rows said before it. The result of a row: the score of its own
    tokens, and that of all tokens of the group. Rows without token vectors of the query's width are left out.
    """
    if numpy is None:
        return {}
    head, width = query[:2], int.from_bytes(query[:2], "little")
    asked = _rows(query[2:], width)
    found = {row: pieces[2:] for row, pieces in stored.items() if pieces[:2] == head and len(pieces) > 2}
    if not found or not len(asked):
        return {}
    asked /= _lengths(asked)
    # One product for the tokens of all texts: one product per text takes three times as long.
    pieces = _rows(b"".join(found.values()), width)
    similarity = (pieces @ asked.T) / _lengths(pieces)
    starts = [0, *itertools.accumulate([len(pieces) // width for pieces in list(found.values())[:-1]])]
    closest = numpy.maximum.reduceat(similarity, starts, axis=0)
    alone = closest.mean(axis=1).tolist()
    places = {row: place for place, row in enumerate(found)}
    result = {}
    for row, before in groups.items():
        if row in places:
            together = closest[[places[one] for one in (row, *before) if one in places]]
            result[row] = (alone[places[row]], float(together.max(axis=0).mean()))
    return result


def _rows(pieces: bytes, width: int) -> Any:
    """Rows of int8 as float32."""
    return numpy.frombuffer(pieces, numpy.int8).reshape(-1, width).astype(numpy.float32)


def _lengths(rows: Any) -> Any:
    return numpy.maximum(numpy.sqrt(numpy.einsum("ij,ij->i", rows, rows)), 1e-6)[:, None]
