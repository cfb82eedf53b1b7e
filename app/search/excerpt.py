"""Excerpts: a text on one line, cut to a length; its beginning, or the part that answers a question best."""

from __future__ import annotations

import math
import re
from collections import Counter

from app.search.lemmas import base_of
from app.search.words import terms

LENGTH = 240
_EDGE = 8
"""An edge is moved to white space within an eighth of the length."""
_WORD = re.compile(r"\w+")
_Place = tuple[int, str]


def shorten(text: str, length: int) -> str:
    """The beginning of a text on one line, at most `length` characters including an ellipsis where it is cut."""
    line = " ".join(text[: 2 * length].split())
    return line if len(line) <= length and len(text) <= 2 * length else line[: length - 1].rstrip() + "…"


def excerpt(text: str, wanted: frozenset[str], *, length: int = LENGTH) -> str:
    """The part of a text that says most about the wanted terms, on one line, at most `length` characters.

    A term counts once, and the less the more often the text has it. An ellipsis with a space is added where something
    is left out.
    """
    flat = " ".join(text.split())
    if len(flat) <= length:
        return flat
    start = _start(_places(flat, wanted), length) if wanted else 0
    if start >= len(flat) - length:  # up to the end, from the next whole word on
        start = len(flat) - length
        return "… " + flat[flat.find(" ", start, start + length // _EDGE) + 1 or start :]
    start = flat.rfind(" ", max(start - length // _EDGE, 0), start + 1) + 1 or start
    end = start + length
    cut = flat.rfind(" ", end - length // _EDGE, end)
    return ("… " if start else "") + flat[start : cut if cut > 0 else end].rstrip() + " …"


def _places(flat: str, wanted: frozenset[str]) -> list[_Place]:
    """Where the wanted terms stand."""
    places: list[_Place] = []
    beginnings = {term[:2] for term in wanted}
    for match in _WORD.finditer(flat):
        word = match[0]
        if word.isascii():  # its stem begins like the word: most words need not be stemmed
            lower = word.lower()
            if lower[:2] not in beginnings and "_" not in word and base_of(lower) == lower:
                continue
        found = terms(word)
        for number, term in enumerate(found):
            if term in wanted:
                places.append((match.start() + len(word) * number // len(found), term))
    return places


def _start(places: list[_Place], length: int) -> int:
    """Where an excerpt begins that has the best stretch in its middle."""
    counts = Counter([term for _, term in places])
    weights = {term: 1 / (1 + math.log2(count)) for term, count in counts.items()}
    here: Counter[str] = Counter()
    value = most = 0.0
    best = (0, 0)
    first = 0
    for place, term in places:
        here[term] += 1
        if here[term] == 1:
            value += weights[term]
        while place - places[first][0] > length * 3 // 4:
            left = places[first][1]
            here[left] -= 1
            if not here[left]:
                value -= weights[left]
            first += 1
        if value > most + 1e-9:
            most, best = value, (places[first][0], place)
    return max(0, (best[0] + best[1] - length) // 2)
