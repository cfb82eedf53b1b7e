"""Excerpt: the few lines of a chunk that answer best, for people to look at."""

from __future__ import annotations

import re

from app.search.words import terms

LENGTH = 240
_WORD = re.compile(r"\w+")


def excerpt(text: str, wanted: frozenset[str], *, length: int = LENGTH) -> str:
    """At most `length` characters in one line, from where most of the wanted terms stand together."""
    flat = " ".join(text.split())
    if len(flat) <= length:
        return flat
    places = [match.start() for match in _WORD.finditer(flat) if not wanted.isdisjoint(terms(match[0]))]
    start = _best_start(places, length - 20)
    start = min(start, len(flat) - length)
    if start > 0:
        start = flat.rfind(" ", 0, start + 1) + 1
    end = start + length
    if end < len(flat):
        end = max(flat.rfind(" ", start, end), start + length // 2)
    return ("… " if start else "") + flat[start:end].rstrip() + (" …" if end < len(flat) else "")


def _best_start(places: list[int], span: int) -> int:
    """A little before the stretch that holds most places."""
    if not places:
        return 0
    best = max(places, key=lambda first: sum([first <= place < first + span for place in places]))
    return max(0, best - 20)
