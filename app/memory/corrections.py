"""Facts that were corrected later: "now I live in Oslo" stands before "I live in Bergen", whatever their words score.

A later turn corrects an earlier one when the same person says it, it sounds like a correction, and it answers the same
words of the question, most of them. Questions about the past, or about a date, want history and are left alone.
"""

from __future__ import annotations

from app.memory.cues import Asked
from app.memory.rank import CUES, Ranked

_PLACE_OF_COVERAGE = CUES.index("coverage")
_COVERAGE = 0.5
"""Turns that share less of what the question asks (by rarity) only happen to share a word."""
_SHARE = 0.5
"""A correction that scores less than this share of the corrected turn speaks of something else."""


def settle(asked: Asked, ranked: list[Ranked]) -> list[Ranked]:
    """The same hits, corrections put right before what they correct."""
    if asked.is_about_past or asked.is_when or asked.periods or asked.months:
        return ranked
    settled = list(ranked)
    for newer in sorted(ranked, key=lambda one: one.doc.created_ms, reverse=True):
        if not newer.doc.signs.is_correction:
            continue
        place = settled.index(newer)
        corrected = [older for older in settled if _corrects(asked, newer, older)]
        newer.corrects = tuple([older.doc.row for older in corrected])
        first = min([settled.index(older) for older in corrected], default=place)
        if first < place:
            settled.insert(first, settled.pop(place))
    return settled


def _corrects(asked: Asked, newer: Ranked, older: Ranked) -> bool:
    if newer is older or (newer.doc.created_ms, newer.doc.row) <= (older.doc.created_ms, older.doc.row):
        return False
    if newer.doc.role != older.doc.role or newer.doc.names != older.doc.names or older.doc.signs.is_question:
        return False
    if older.cues[_PLACE_OF_COVERAGE] < _COVERAGE:
        return False
    answered = {term for term in asked.terms if term in older.doc.counts}
    return bool(answered) and answered <= newer.doc.counts.keys() and newer.total >= _SHARE * older.total
