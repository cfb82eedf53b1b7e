"""Excerpts: a text on one line, cut to a length; its beginning, or the part that answers a question best."""

from __future__ import annotations

import re

from app.search.words import terms

LENGTH = 240
_WORD = re.compile(r"\w+")


def shorten(text: str, length: int) -> str:
    """The beginning of a text on one line, at most `length` characters including an ellipsis where it is cut."""
    line = " ".join(text[: 2 * length].split())
    return line if len(line) <= length and len(text) <= 2 * length else line[: length - 1].rstrip() + "…"


def excerpt(text: str, wanted: frozenset[str], *, length: int = LENGTH) -> str:
    """The part of a text that contains most of the wanted terms, on one line, at most `length` characters.

    An ellipsis with a space is added where something is left out.
    """
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
