"""The ranking of chunks: what of the question stands in them and above them, and how close they are in meaning.

The weights are round numbers, chosen on 28 questions to the documentation of another project; questions to our own
pages confirm them (docs/documents.md has the figures).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.memory.lexical import K1
from app.search.words import terms
from app.storage.documents import IndexedChunk

CANDIDATES = 100
"""By words, and as many by meaning."""
B = 0.5
"""Length normalisation of BM25: chunks are of a size, but for short ones under a heading of their own."""
WEIGHTS = {"words": 1.0, "coverage": 1.0, "heading": 1.0, "meaning": 2.5}


@dataclass(frozen=True, slots=True)
class Ranked:
    """`score` is 0 to 1 and orders the hits of one search; it does not compare searches."""

    chunk: IndexedChunk
    score: float
    cues: dict[str, float]


def rank(chunks: Sequence[IndexedChunk], rarity: Mapping[str, float], cosines: Mapping[int, float]) -> list[Ranked]:
    """Best first. `rarity`: of the question's terms; `cosines` by row, empty when nobody embeds."""
    words = _bm25(chunks, rarity)
    most_words = max(words.values(), default=0.0) or 1.0
    most_meaning = max([cosines.get(chunk.row, 0.0) for chunk in chunks], default=0.0) or 1.0
    weights = {name: weight for name, weight in WEIGHTS.items() if cosines or name != "meaning"}
    whole = sum(weights.values())
    ranked = []
    for chunk in chunks:
        cues = {
            "words": words[chunk.row] / most_words,
            "coverage": _share(rarity, set(chunk.terms.split())),
            "heading": _share(rarity, set(terms(chunk.heading))),
            "meaning": max(0.0, cosines.get(chunk.row, 0.0)) / most_meaning,
        }
        score = sum([weight * cues[name] for name, weight in weights.items()]) / whole
        ranked.append(Ranked(chunk, score, {name: round(cue, 3) for name, cue in cues.items() if cue}))
    return sorted(ranked, key=lambda one: (-one.score, one.chunk.path, one.chunk.place))


def _bm25(chunks: Sequence[IndexedChunk], rarity: Mapping[str, float]) -> dict[int, float]:
    counts = {chunk.row: Counter(chunk.terms.split()) for chunk in chunks}
    average = sum([found.total() for found in counts.values()]) / max(1, len(counts)) or 1.0
    scores = {}
    for row, found in counts.items():
        norm = K1 * (1 - B + B * found.total() / average)
        scores[row] = sum([weight * found[term] * (K1 + 1) / (found[term] + norm) for term, weight in rarity.items()])
    return scores


def _share(rarity: Mapping[str, float], there: set[str]) -> float:
    """How much of the question is there, a rare word counting more."""
    whole = sum(rarity.values()) or 1.0
    return sum([weight for term, weight in rarity.items() if term in there]) / whole
