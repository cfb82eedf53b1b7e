"""The one ranking of memories: cues of each candidate, added up with fixed weights. Knows no store and no model.

The weights were fitted on membench (five long two-person histories, 743 questions; `benchmarks/recall_adapter.py`
runs it) as a linear model under a listwise loss, leaving one conversation out each time to see that they hold for
conversations they were not fitted on. The data itself is no part of this repository. What the data cannot tell
(whose role a question asks for, which of two equals is newer) was set by hand and is said where it stands.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

from app.memory.cues import Asked, fits_date
from app.memory.lexical import Doc, Pool, bm25, idf

CANDIDATES = 100
"""By words, and as many by meaning."""

CUES = (
    "words",
    "coverage",
    "words_before",
    "words_before_2",
    "words_after",
    "answer",
    "session_words",
    "meaning",
    "meaning_before",
    "meaning_after",
    "session_meaning",
    "speaker",
    "date",
    "question",
    "length",
    "when_time",
    "how_many_number",
    "personal",
)

Cues = tuple[float, ...]


@dataclass(slots=True)
class Meaning:
    """How close each turn is to the question in meaning: cosines by row, and the rows closest."""

    cosines: Mapping[int, float]
    closest: list[int]


def find_cues(pool: Pool, asked: Asked, meaning: Meaning | None) -> list[tuple[Doc, Cues]]:
    """Every candidate with its cues, in no order."""
    found = bm25(pool, asked.terms)
    docs = _candidates(pool, found, meaning)
    if not docs:
        return []
    most = max(found.values(), default=0.0) or 1.0
    words = {doc: score / most for doc, score in found.items()}
    near = _scaled(pool, docs, meaning)
    session_words = _best_three(words)
    session_near = _best_three(near)
    weights = {term: idf(pool.size, pool.frequency(term)) for term in asked.terms}
    whole = sum(weights.values()) or 1.0
    dates = {day: fits_date(asked, day) for day in {doc.day for doc in docs}}
    result: list[tuple[Doc, Cues]] = []
    for doc in docs:
        before, before_2 = pool.at(doc.session_id, doc.place - 1), pool.at(doc.session_id, doc.place - 2)
        after = pool.at(doc.session_id, doc.place + 1)
        words_before = words.get(before, 0.0) if before else 0.0
        result.append(
            (
                doc,
                (
                    words.get(doc, 0.0),
                    sum([weight for term, weight in weights.items() if term in doc.counts]) / whole,
                    words_before,
                    words.get(before_2, 0.0) if before_2 else 0.0,
                    words.get(after, 0.0) if after else 0.0,
                    words_before if before and before.signs.is_question else 0.0,
                    session_words.get(doc.session_id, 0.0),
                    near.get(doc, 0.0),
                    near.get(before, 0.0) if before else 0.0,
                    near.get(after, 0.0) if after else 0.0,
                    session_near.get(doc.session_id, 0.0),
                    _speaks(asked, doc),
                    dates[doc.day],
                    float(doc.signs.is_question),
                    min(1.0, math.log1p(doc.length) / 4),
                    float(asked.is_when and doc.signs.has_time),
                    float(asked.is_how_many and doc.signs.has_number),
                    float(doc.signs.is_personal),
                ),
            )
        )
    return result


def _candidates(pool: Pool, found: dict[Doc, float], meaning: Meaning | None) -> list[Doc]:
    docs = heapq.nlargest(CANDIDATES, found, key=found.__getitem__)
    if meaning is not None:
        rows = set(meaning.closest[:CANDIDATES])
        docs += [doc for doc in pool.docs() if doc.row in rows]
    chosen = dict.fromkeys(docs)
    for doc in docs:
        for step in (1, 2, -1):
            other = pool.at(doc.session_id, doc.place + step)
            if other is not None:
                chosen[other] = None
    return list(chosen)


def _scaled(pool: Pool, docs: list[Doc], meaning: Meaning | None) -> dict[Doc, float]:
    """Cosines between the least and the greatest of the candidates as 0 to 1."""
    if meaning is None or not meaning.cosines:
        return {}
    cosines = meaning.cosines
    most = max(cosines.values())
    least = min(0.0, most) if most < 0.2 else 0.0
    span = (most - least) or 1.0
    return {doc: max(0.0, (cosines[doc.row] - least) / span) for doc in docs if doc.row in cosines}


def _best_three(scores: dict[Doc, float]) -> dict[str, float]:
    """Each session's share: the sum of its best three, the best session's being 1."""
    by_session: dict[str, list[float]] = {}
    for doc, score in scores.items():
        by_session.setdefault(doc.session_id, []).append(score)
    sums = {session: sum(heapq.nlargest(3, values)) for session, values in by_session.items()}
    most = max(sums.values(), default=0.0) or 1.0
    return {session: value / most for session, value in sums.items()}


def _speaks(asked: Asked, doc: Doc) -> float:
    if asked.names:
        return float(not asked.names.isdisjoint(doc.names))
    return float(doc.role in asked.roles) if asked.roles else 0.0


@dataclass(slots=True, eq=False)
class Ranked:
    """A candidate in its place. `total` orders, `score` (0 to 1) is shown and compared with a threshold."""

    doc: Doc
    cues: Cues
    total: float
    score: float
    late: float | None = None
    corrects: tuple[int, ...] = ()

    def named_cues(self) -> dict[str, float]:
        """The cues that say something, by name."""
        named = {name: round(cue, 3) for name, cue in zip(CUES, self.cues, strict=True) if cue}
        if self.late is not None:
            named["late_interaction"] = round(self.late, 3)
        return named


def rank(pool: Pool, asked: Asked, meaning: Meaning | None) -> list[Ranked]:
    """The candidates, best first."""
    weights = _WITH_MEANING if meaning is not None else _BY_WORDS
    found = find_cues(pool, asked, meaning)
    recency = _recency([doc for doc, _ in found])
    ranked = []
    for doc, cues in found:
        total = sum([weight * cue for weight, cue in zip(weights.cues, cues, strict=True)])
        ranked.append(Ranked(doc, cues, total + RECENCY * recency[doc], weights.score(total)))
    ranked.sort(key=lambda one: one.total, reverse=True)
    return ranked


def rank_again(ranked: list[Ranked], closeness: Mapping[int, float]) -> list[Ranked]:
    """The same candidates after late interaction, `closeness` being theirs by row."""
    least, most = min(closeness.values()), max(closeness.values())
    span = (most - least) or 1.0
    recency = _recency([one.doc for one in ranked])
    for one in ranked:
        one.late = (closeness.get(one.doc.row, least) - least) / span
        total = sum([weight * cue for weight, cue in zip(_WITH_LATE.cues, one.cues, strict=True)])
        total += _WITH_LATE.late * one.late
        one.total, one.score = total + RECENCY * recency[one.doc], _WITH_LATE.score(total)
    return sorted(ranked, key=lambda one: one.total, reverse=True)


def _recency(docs: list[Doc]) -> dict[Doc, float]:
    """0 for the oldest to 1 for the newest, by rank of age."""
    ordered = sorted(docs, key=lambda doc: (doc.created_ms, doc.row))
    last = max(1, len(ordered) - 1)
    return {doc: place / last for place, doc in enumerate(ordered)}


RECENCY = 0.05
"""A tie-break between equals and no more: as a real cue it cost recall on every history measured."""


@dataclass(frozen=True, slots=True)
class _Weights:
    """`middle` and `slope` turn a total into the share of such turns that held evidence, on the same data."""

    cues: Cues
    middle: float
    slope: float
    late: float = 0.0

    def score(self, total: float) -> float:
        return 1 / (1 + math.exp(-self.slope * (total - self.middle)))


# fmt: off
_BY_WORDS = _Weights(
    (2.49, 1.61, 0.99, 1.03, 0.66, 1.49, 2.94, 0.0, 0.0, 0.0, 0.0, 2.73, 3.89, -0.62, 0.15, 2.26, 1.26, 0.32),
    middle=11.89, slope=0.87,
)
_WITH_MEANING = _Weights(
    (1.65, 1.28, 0.71, 0.96, 0.14, 1.28, 1.99, 2.67, 0.24, 0.63, 0.82, 2.77, 4.11, -0.58, 0.81, 2.16, 1.08, 0.46),
    middle=13.81, slope=0.83,
)
_WITH_LATE = _Weights(
    (0.64, 0.28, 0.64, 0.93, 0.04, 1.29, 1.98, 0.99, 0.33, 0.53, 0.47, 2.57, 4.05, -0.57, -0.2, 1.95, 0.9, 0.36),
    middle=13.04, slope=0.79, late=3.72,
)
# fmt: on
