"""Ranking of memories: a linear model over the cues of each candidate. Knows no store and no embedder.

The weights were fitted on membench (five long two-person histories, 743 questions; `benchmarks/recall_adapter.py`
runs it) under a listwise loss, and cross-validated by leaving one conversation out. The data is not part of this
repository. Weights for what the data does not show were set by hand: the role a question asks for, recency among
equals, and bare questions (one turn in fifty there, and one in a thousand of those with evidence). So were four weights
of `_WITH_LATE`, after chats with an assistant (`benchmarks/histories`), where a message is often clear only from the
answer to it; on membench that moved the figures by a few thousandths, up and down.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import mul

from app.memory.cues import Asked, Sign, fits_date
from app.memory.doc import Doc
from app.memory.shelf import Pool
from app.search.function_words import Language
from app.search.lexical import Matches

SUMMARY = "summary"
"""The speaker of summaries."""
CANDIDATES = 100
"""Turns nominated by BM25, and as many by cosine."""
B = 0.2
"""BM25's length normalisation: low, because a longer turn says more (measured: .75 costs 3 points of recall)."""

CUES = (
    "words",
    "context",
    "answer",
    "session_words",
    "meaning",
    "meaning_before",
    "meaning_after",
    "session_meaning",
    "speaker",
    "date",
    "question",
    "bare_question",
    "when_time",
    "how_many_number",
    "personal",
)

Cues = tuple[float, ...]
Closeness = tuple[float, float]
"""Late interaction scores: of a turn alone, and of the turn together with the two before it."""


@dataclass(slots=True)
class Meaning:
    """Similarity of the scope's vectors to the question's.

    `closest`: the rows with the greatest cosines, best first. `cosines`: those of given rows. `alike`: the pairs among
    given rows whose cosine with each other is at least a threshold.
    """

    closest: list[int]
    cosines: Callable[[Collection[int]], Mapping[int, float]]
    alike: Callable[[Collection[int], float], Collection[tuple[int, int]]]


def find_cues(pool: Pool, asked: Asked, meaning: Meaning | None) -> list[Ranked]:
    """The candidates with their cues, in no order."""
    found = Matches(pool.corpus, asked.terms, b=B, enough=CANDIDATES)
    docs = _candidates(pool, found.scores, meaning)
    if not docs:
        return []
    most = _most(found.scores)
    words = {doc: min(1.0, score / most) for doc, score in found.scores.items()}
    near = _scaled(docs, meaning)
    session_words = _best_three(words)
    session_near = _best_three(near)
    dates = {day: fits_date(asked, day) for day in {doc.day for doc in docs}} if asked.is_dated else {}
    result = []
    for doc in docs:
        session, place = doc.session_id, doc.place
        before, before_2 = pool.at((session, place - 1)), pool.at((session, place - 2))
        after = pool.at((session, place + 1))
        said = found.terms_in(doc)
        context = said | (found.terms_in(before) if before else 0) | (found.terms_in(before_2) if before_2 else 0)
        cues = (
            words.get(doc, 0.0),
            found.share(context),
            words[before] if before in words and _answers(doc, before) else 0.0,
            session_words.get(session, 0.0),
            near.get(doc, 0.0),
            near.get(before, 0.0) if before else 0.0,
            near.get(after, 0.0) if after else 0.0,
            session_near.get(session, 0.0),
            _speaks(asked, doc),
            dates.get(doc.day, 0.0) if dates else 0.0,
            float(doc.shows(Sign.QUESTION)),
            float(doc.shows(Sign.BARE_QUESTION)),
            float(asked.is_when and doc.shows(Sign.TIME)),
            float(asked.is_how_many and doc.shows(Sign.NUMBER)),
            float(doc.shows(Sign.PERSONAL)),
        )
        rows = tuple([other.row for other in (before, before_2) if other])
        result.append(Ranked(doc, cues, found.share(said), rows, is_embedded=meaning is None or doc in near))
    return result


def _candidates(pool: Pool, scores: Mapping[Doc, float], meaning: Meaning | None) -> list[Doc]:
    docs = heapq.nlargest(CANDIDATES, scores, key=scores.__getitem__)
    if meaning is not None:
        docs += pool.with_rows(meaning.closest[:CANDIDATES])
    chosen = dict.fromkeys(docs)
    for doc in docs:
        for step in (1, 2, -1):
            other = pool.at((doc.session_id, doc.place + step))
            if other is not None:
                chosen[other] = None
    return list(chosen)


def _scaled(docs: list[Doc], meaning: Meaning | None) -> dict[Doc, float]:
    """Min-max scale cosines to 0–1; the lower end is 0, or the smallest cosine when all are below 0.2."""
    if meaning is None:
        return {}
    cosines = meaning.cosines([doc.row for doc in docs])
    near = {doc: cosines[doc.row] for doc in docs if doc.row in cosines}
    most = _most(near)
    least = min(0.0, most) if most < 0.2 else 0.0
    span = (most - least) or 1.0
    return {doc: min(1.0, max(0.0, (cosine - least) / span)) for doc, cosine in near.items()}


def _most(scores: Mapping[Doc, float]) -> float:
    """The greatest score of a turn that is no bare question; of any turn when the best twenty are bare questions."""
    greatest = heapq.nlargest(20, scores, key=scores.__getitem__)
    best = next(filter(_may_tell, greatest), greatest[0] if greatest else None)
    return (scores[best] if best is not None else 0.0) or 1.0


def _may_tell(doc: Doc) -> bool:
    """Whether a turn may contain an answer. The same question, asked before, matches best and would set the scale."""
    return not doc.shows(Sign.BARE_QUESTION)


def _best_three(scores: Mapping[Doc, float]) -> dict[str, float]:
    """A score per session: the sum of its three best turns, scaled so that the best session has 1."""
    by_session: dict[str, list[float]] = {}
    for doc, score in scores.items():
        by_session.setdefault(doc.session_id, []).append(score)
    sums = {session: sum(sorted(values)[-3:]) for session, values in by_session.items()}
    most = max(sums.values(), default=0.0) or 1.0
    return {session: value / most for session, value in sums.items()}


def _answers(doc: Doc, before: Doc) -> bool:
    """Whether the turn before is a question of another speaker."""
    return before.shows(Sign.QUESTION) and (before.role, before.names) != (doc.role, doc.names)


def _speaks(asked: Asked, doc: Doc) -> float:
    """Whether the turn is by whom the question asks about. A summary speaks about all of them."""
    if SUMMARY in doc.names:
        return float(bool(asked.names or asked.roles))
    if asked.names:
        return float(not asked.names.isdisjoint(doc.names))
    return float(doc.role in asked.roles) if asked.roles else 0.0


@dataclass(slots=True, eq=False)
class Ranked:
    """A ranked candidate. `total` is the sort key; `score` (0 to 1) is shown and compared with the threshold.

    `coverage`: the share of the question's terms it contains, weighted by rarity. `before`: the rows of the two turns
    before it. `late`: its late interaction scores. `corrects`: rows that it makes untrue. `is_embedded`: whether cues
    of meaning, where they are used, say anything of it; a memory of this moment has no vector yet.
    """

    doc: Doc
    cues: Cues
    coverage: float
    before: tuple[int, ...]
    total: float = 0.0
    score: float = 0.0
    late: Closeness | None = None
    corrects: tuple[int, ...] = ()
    is_embedded: bool = True

    def named_cues(self) -> dict[str, float]:
        """The cues that are not 0, by name."""
        named = {"coverage": round(self.coverage, 3)} if self.coverage else {}
        named |= {name: round(cue, 3) for name, cue in zip(CUES, self.cues, strict=True) if cue}
        if self.late is not None:
            named["late_interaction"], named["late_context"] = round(self.late[0], 3), round(self.late[1], 3)
        return named


def rank(pool: Pool, asked: Asked, meaning: Meaning | None) -> list[Ranked]:
    """The candidates of a pool, best first."""
    weights = _WITH_MEANING if meaning is not None else _BY_WORDS
    return _in_order(find_cues(pool, asked, meaning), weights, lift=_lift(asked))


def rank_again(ranked: list[Ranked], asked: Asked, closeness: Mapping[int, Closeness]) -> list[Ranked]:
    """The same candidates, ranked with late interaction scores. `closeness`: the scores by row."""
    telling = [closeness[one.doc.row] for one in ranked if one.doc.row in closeness and _may_tell(one.doc)]
    telling = telling or list(closeness.values())
    alone, together = _Scale([own for own, _ in telling]), _Scale([context for _, context in telling])
    for one in ranked:
        if not one.is_embedded:
            continue
        own, context = closeness.get(one.doc.row, (alone.least, together.least))
        one.late = (alone(own), together(context))
    return _in_order(ranked, _WITH_LATE, lift=_lift(asked))


def _lift(asked: Asked) -> float:
    """What a total is raised by before it becomes a score: questions of unknown languages show fewer cues."""
    return UNKNOWN_LANGUAGE if asked.language is Language.UNKNOWN and not asked.names and not asked.roles else 0.0


def _in_order(candidates: list[Ranked], weights: _Weights, *, lift: float) -> list[Ranked]:
    recency = _recency([one.doc for one in candidates])
    for one in candidates:
        total = sum(map(mul, weights.cues, one.cues))
        if not one.is_embedded:
            total = weights.total(_BY_WORDS.score(sum(map(mul, _BY_WORDS.cues, one.cues))))
        if one.late is not None:
            total += weights.late[0] * one.late[0] + weights.late[1] * one.late[1]
        one.total, one.score = total + RECENCY * recency[one.doc], weights.score(total + lift)
    return sorted(candidates, key=lambda one: one.total, reverse=True)


class _Scale:
    """Min-max scaling of numbers to 0–1; equal ones are all the best."""

    def __init__(self, values: Collection[float]) -> None:
        self.least = min(values)
        self._most = max(values)

    def __call__(self, value: float) -> float:
        if value >= self._most:
            return 1.0
        return max(0.0, (value - self.least) / (self._most - self.least)) if value > self.least else 0.0


def _recency(docs: list[Doc]) -> dict[Doc, float]:
    """The rank of age, scaled from 0 (oldest) to 1 (newest)."""
    ordered = sorted(docs, key=lambda doc: (doc.created_ms, doc.row))
    last = max(1, len(ordered) - 1)
    return {doc: place / last for place, doc in enumerate(ordered)}


UNKNOWN_LANGUAGE = 0.9
"""Who speaks, and which words only carry the question, is not known there: right turns score .006, others .003."""
RECENCY = 0.05
"""Breaks ties between equals only: as a weightier cue it cost recall on every history measured."""


@dataclass(frozen=True, slots=True)
class _Weights:
    """`middle` and `slope` map a total to the share of turns with evidence among those with such a total."""

    cues: Cues
    middle: float
    slope: float
    late: Closeness = (0.0, 0.0)

    def score(self, total: float) -> float:
        return 1 / (1 + math.exp(-self.slope * (total - self.middle)))

    def total(self, score: float) -> float:
        """The total that has this score."""
        return self.middle + math.log(score / (1 - score)) / self.slope


# fmt: off
_BY_WORDS = _Weights(
    (2.08, 4.2, 1.58, 2.44, 0.0, 0.0, 0.0, 0.0, 2.67, 3.72, -0.57, -2.5, 2.08, 1.15, 0.33), middle=12.01, slope=0.87
)
_WITH_MEANING = _Weights(
    (1.23, 3.81, 1.2, 1.3, 2.36, 0.38, 0.62, 1.02, 2.7, 4.01, -0.59, -2.5, 2.06, 0.9, 0.54), middle=13.38, slope=0.84
)
_WITH_LATE = _Weights(
    (0.44, 1.95, 1.2, 1.1, 1.48, 0.1, 1.25, 0.41, 2.56, 3.88, -0.59, -2.5, 1.82, 0.77, 0.35), late=(1.55, 2.13),
    middle=13.0, slope=0.8,
)
# fmt: on
