"""Section: a part of a document under one heading, as readers give it; and what they say when they cannot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Unit = Literal["line", "page", "paragraph"]
"""What a position in a document counts, from 1."""

MAX_HEADING = 300
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Unreadable(Exception):
    """The document cannot be read; the sentence says why, without its name."""


@dataclass(frozen=True, slots=True)
class Section:
    """`heading`: the headings above, outermost first, joined by ` > `. Paragraphs: (position, text)."""

    heading: str
    paragraphs: Iterable[tuple[int, str]]


Report = Callable[[str], None]
"""Takes a sentence about a part of the document that was left out."""


def clean(text: str) -> str:
    """Without what no database stores and no terminal shows: NUL, control characters, halves of characters."""
    return _UNWANTED.sub("�", text)


def join_headings(headings: Iterable[str]) -> str:
    return " > ".join([heading for heading in headings if heading])[:MAX_HEADING]
