"""Ranking of chunks: which terms of the question are in the text and its headings, and how similar the vectors are.

The weights are round numbers, chosen on 28 questions about the documentation of another project; questions about our
own pages confirm them (docs/documents.md has the figures).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.search.lexical import Corpus, Matches, TermIndex
from app.search.words import terms
from app.storage.documents import IndexedChunk

CANDIDATES = 100
"""Chunks nominated by full text, and as many by cosine."""
B = 0.5
"""BM25's length normalisation: most chunks have a similar size, except short ones under a heading of their own."""
WEIGHTS = {"words": 1.0, "coverage": 1.0, "heading": 1.0, "meaning": 2.5}


@dataclass(frozen=True, slots=True)
class RankedChunk:
    """`score` is 0 to 1 and orders the hits of one search; scores of different searches are not comparable."""

    chunk: IndexedChunk
    score: float
    cues: dict[str, float]


class _Candidate:
    """A chunk with its terms counted."""

    __slots__ = ("chunk", "counts", "length")

    def __init__(self, chunk: IndexedChunk) -> None:
        found = chunk.terms.split()
        self.chunk = chunk
        self.counts = Counter(found)
        self.length = len(found)


def rank(
    chunks: Sequence[IndexedChunk],
    asked: Sequence[str],
    frequencies: Mapping[str, int],
    cosines: Mapping[int, float],
    *,
    size: int,
) -> list[RankedChunk]:
    """Best first. `asked`: the question's terms, with their frequencies among the `size` chunks of the stores.

    `cosines` by row; empty without an embedder.
    """
    candidates = [_Candidate(chunk) for chunk in chunks]
    corpus = Corpus.of_candidates(TermIndex(candidates), size=size, frequency=frequencies.__getitem__)
    matches = Matches(corpus, asked, b=B)
    most_words = max(matches.scores.values(), default=0.0) or 1.0
    most_meaning = max([cosines.get(chunk.row, 0.0) for chunk in chunks], default=0.0) or 1.0
    weights = {name: weight for name, weight in WEIGHTS.items() if cosines or name != "meaning"}
    whole = sum(weights.values())
    ranked = []
    for one in candidates:
        cues = {
            "words": matches.scores.get(one, 0.0) / most_words,
            "coverage": matches.share(matches.terms_in(one)),
            "heading": matches.share(matches.terms_among(set(terms(one.chunk.heading)))),
            "meaning": max(0.0, cosines.get(one.chunk.row, 0.0)) / most_meaning,
        }
        score = sum([weight * cues[name] for name, weight in weights.items()]) / whole
        ranked.append(RankedChunk(one.chunk, score, {name: round(cue, 3) for name, cue in cues.items() if cue}))
    return sorted(ranked, key=lambda one: (-one.score, one.chunk.path, one.chunk.place))
