"""Chunks: the searchable pieces of a document; whole paragraphs of one section where they fit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.documents.section import Section, Unit

# Where a long paragraph is cut, best places first.
_CUTS = (re.compile(r"\n"), re.compile(r"[.!?…。！？][)\"'”’»]*\s"), re.compile(r"\s"))


@dataclass(frozen=True, slots=True)
class Chunk:
    """`position`: where the chunk begins, in the unit of its document."""

    heading: str
    position: int
    text: str

    @property
    def digest(self) -> bytes:
        """A hash of text and headings; equal chunks keep their row and vectors."""
        content = f"{self.heading}\0{self.text}".encode("utf-8", "replace")
        return hashlib.blake2b(content, digest_size=16).digest()


def cut(sections: Iterable[Section], *, size: int, unit: Unit) -> Iterator[Chunk]:
    """Chunks of at most `size` characters, in order."""
    for section in sections:
        held: list[str] = []
        start = length = 0
        for position, paragraph in _parts(section.paragraphs, size, unit):
            if held and length + len(paragraph) + 2 > size:
                yield Chunk(section.heading, start, "\n\n".join(held))
                held, length = [], 0
            start = start if held else position
            held.append(paragraph)
            length += len(paragraph) + 2
        if held:
            yield Chunk(section.heading, start, "\n\n".join(held))


def _parts(paragraphs: Iterable[tuple[int, str]], size: int, unit: Unit) -> Iterator[tuple[int, str]]:
    for position, paragraph in paragraphs:
        at = line = 0
        while at < len(paragraph):
            end = len(paragraph) if len(paragraph) - at <= size else _end(paragraph, at, size)
            part = paragraph[at:end]
            if part.strip():
                skipped = len(part) - len(part.lstrip("\n"))
                yield position + (line + skipped if unit == "line" else 0), part.strip()
            line += part.count("\n")
            at = end


def _end(paragraph: str, at: int, size: int) -> int:
    """The best place to cut in the second half of the next `size` characters; trailing whitespace may exceed `size`."""
    for pattern in _CUTS:
        places = [match.end() for match in pattern.finditer(paragraph, at + size // 2, at + size + 1)]
        if places:
            return places[-1]
    return at + size
