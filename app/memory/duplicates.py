"""Duplicates: what was said several times is told once, so that a recall has room for something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from app.memory.cues import Sign
from app.memory.doc import Doc
from app.memory.rank import Ranked
from app.search.function_words import FUNCTION_TERMS
from app.search.words import terms

Alike = Callable[[Collection[int], float], Collection[tuple[int, int]]]
"""The pairs among some rows whose cosine is at least a threshold."""

_SAME = 0.95
"""Cosine from which on two turns say the same, if one has all of the other's terms."""
_COMPARED = 400
"""Characters in which a negation is looked for."""
_NEGATION = re.compile(
    r"\b(?:not?|never|none|without|cannot|no longer|nicht|kein\w*|nie|ne|pas|jamais|nunca|nada|sin|não|nem|sem|non|mai"
    r"|niet|geen|нет|не|никогда|yok|değil)\b|n['’]t\b|[不没]|ない|않|안 ",
    re.IGNORECASE,
)
_ASIDE = frozenset(
    terms("know remember note said say told tell mention again remind reminder please btw fyi forget way")
)
"""Terms that introduce a fact and are no part of it."""


def fold(ranked: Sequence[Ranked], alike: Alike | None = None, *, enough: int) -> list[Ranked]:
    """The best `enough` of the ranked turns, without those that say what a better one says."""
    near = _near([one.doc.row for one in ranked[: 2 * enough]], alike)
    by_terms: dict[frozenset[str], list[Ranked]] = {}
    by_row: dict[int, tuple[Ranked, frozenset[str]]] = {}
    kept: list[Ranked] = []
    for one in ranked:
        if len(kept) == enough:
            break
        content = _content(one.doc)
        same = by_terms.setdefault(content, []) if content else []
        close = [by_row[row] for row in near.get(one.doc.row, ()) if row in by_row]
        alike_ones = [other for other, said in close if said <= content or content <= said]
        if any(_agree(one.doc, other.doc) for other in [*same, *alike_ones]):
            continue
        same.append(one)
        by_row[one.doc.row] = one, content
        kept.append(one)
    return kept


def _near(rows: list[int], alike: Alike | None) -> dict[int, list[int]]:
    near: dict[int, list[int]] = {}
    for row, other in alike(rows, _SAME) if alike is not None else ():
        near.setdefault(row, []).append(other)
        near.setdefault(other, []).append(row)
    return near


def _content(doc: Doc) -> frozenset[str]:
    """The terms of a turn that carry what it says."""
    said = frozenset(doc.counts)
    functional = said & FUNCTION_TERMS
    if 3 * len(functional) >= len(said):  # not English: there they are names and nouns, and few
        said = said - functional or said
    return said - _ASIDE or said


def _agree(one: Doc, other: Doc) -> bool:
    """Whether both ask or both tell, and both deny or neither."""
    return one.shows(Sign.QUESTION) == other.shows(Sign.QUESTION) and _is_negated(one) == _is_negated(other)


def _is_negated(doc: Doc) -> bool:
    return _NEGATION.search(doc.text[:_COMPARED]) is not None
