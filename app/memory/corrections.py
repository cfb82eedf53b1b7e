"""Corrections: "now I live in Oslo" is ranked before "I live in Bergen", whatever their scores.

When one person said two things about the same matter, the later one answers a question about the present. Two turns are
about the same matter when their vectors are similar or, without vectors, when they contain the same terms of the
question. Questions about the past or about a date ask for history; their ranking is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from app.memory.cues import Asked, Sign
from app.memory.rank import Ranked

Alike = Callable[[Collection[int], float], Collection[tuple[int, int]]]
"""The pairs among some rows whose cosine is at least a threshold."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """When a later turn corrects an earlier one.

    `alike`: the smallest cosine of the two; `share`: the smallest ratio of their scores; `says_so`: whether the later
    one has to sound like a correction.
    """

    alike: float
    share: float
    says_so: bool


_NOW = _Rule(alike=0.42, share=0.5, says_so=False)
"""For questions about the present. Most facts that are restated in plain words have a greater cosine (median .72), in
chats (`benchmarks/histories`) a third of them; of unrelated facts of one person one pair in 170."""
_ELSE = _Rule(alike=0.6, share=0.9, says_so=True)
"""For other questions: two people often return to a matter without correcting anything."""
_COVERAGE = 0.5
"""Turns that contain a smaller share of the question (by rarity) have a word in common by chance."""


def settle(asked: Asked, ranked: list[Ranked], alike: Alike | None = None) -> list[Ranked]:
    """The same hits, with later facts moved directly before those they correct."""
    if asked.is_about_past or asked.is_dated:
        return ranked
    rule = _NOW if asked.is_about_now else _ELSE
    pairs = alike([one.doc.row for one in ranked], rule.alike) if alike is not None else ()
    settled = list(ranked)
    for newer in sorted(ranked, key=_age, reverse=True):
        says_so = newer.doc.shows(Sign.CORRECTION)
        if newer.doc.shows(Sign.BARE_QUESTION) or (rule.says_so and not says_so):
            continue
        corrected = [
            older
            for older in settled
            if _may_be_corrected(newer, older, rule)
            and ((newer.doc.row, older.doc.row) in pairs or _answers_the_same(asked, newer, older))
        ]
        if says_so:
            newer.corrects = tuple([older.doc.row for older in corrected])
        place = settled.index(newer)
        first = min([settled.index(older) for older in corrected], default=place)
        if first < place:
            settled.insert(first, settled.pop(place))
    return settled


def _age(one: Ranked) -> tuple[int, int]:
    return one.doc.created_ms, one.doc.row


def _may_be_corrected(newer: Ranked, older: Ranked, rule: _Rule) -> bool:
    """Whether the same person said it earlier, as a statement, and its score is not much higher."""
    return (
        _age(older) < _age(newer)
        and older.doc.role == newer.doc.role
        and older.doc.names == newer.doc.names
        and not older.doc.shows(Sign.QUESTION)
        and newer.total >= rule.share * older.total
    )


def _answers_the_same(asked: Asked, newer: Ranked, older: Ranked) -> bool:
    if older.coverage < _COVERAGE:
        return False
    answered = {term for term in asked.terms if term in older.doc.counts}
    return bool(answered) and answered <= newer.doc.counts.keys()
