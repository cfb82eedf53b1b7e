"""Section: a part of a document under one heading, as readers yield it; and the error of a reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Unit = Literal["line", "page", "paragraph"]
"""What a position in a document counts; the first is 1."""

MAX_HEADING = 300
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Unreadable(Exception):
    """The document cannot be read; the message says why and does not name the document."""


@dataclass(frozen=True, slots=True)
class Section:
    """`heading`: the headings above, outermost first, joined by ` > `. Paragraphs: (position, text)."""

    heading: str
    paragraphs: Iterable[tuple[int, str]]


Report = Callable[[str], None]
"""Called with a sentence about a part of the document that was skipped."""


def clean(text: str) -> str:
    """Replace what databases reject or terminals misprint: NUL, control characters, lone surrogates."""
    return _UNWANTED.sub("�", text)


def join_headings(headings: Iterable[str]) -> str:
    return " > ".join([heading for heading in headings if heading])[:MAX_HEADING]
