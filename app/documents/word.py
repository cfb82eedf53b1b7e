"""Word documents (.docx) by python-docx: a section per heading; positions are paragraphs, a table counts as one."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import docx
from docx.document import Document
from docx.table import Table
from docx.text.paragraph import Paragraph

from app.documents.section import Section, Unreadable, clean, join_headings

MAX_UNPACKED = 200 << 20
"""Bytes of all parts of the file, unpacked; a small file may unpack to any size."""
PORTION = 2_000
"""Paragraphs of one section at most: a long document is handed on in parts, so that it is not given up for silence."""
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)


def read_docx(file: BinaryIO) -> Iterator[Section]:
    """Raises Unreadable: it is no Word document, or unpacks to more than `MAX_UNPACKED`."""
    headings: list[str] = []
    held: list[tuple[int, str]] = []
    levels: dict[str | None, int] = {}
    for number, block in enumerate(_open(file).iter_inner_content(), 1):
        text = clean(_rows(block) if isinstance(block, Table) else block.text).strip()
        level = 0
        if isinstance(block, Paragraph):
            style = block._p.style
            if style not in levels:  # looking a style up takes ten times as long as reading a paragraph
                levels[style] = _level(block)
            level = levels[style]
        if text and level:
            if held:
                yield Section(join_headings(headings), held)
                held = []
            headings = [*(headings + [""] * level)[: level - 1], " ".join(text.split())]
        elif text:
            held.append((number, text))
        if len(held) == PORTION:
            yield Section(join_headings(headings), held)
            held = []
    if held:
        yield Section(join_headings(headings), held)


def _open(file: BinaryIO) -> Document:
    try:
        with zipfile.ZipFile(file) as parts:
            if sum([part.file_size for part in parts.infolist()]) > MAX_UNPACKED:
                raise Unreadable(f"unpacks to more than {MAX_UNPACKED >> 20} MiB")
        file.seek(0)
        return docx.Document(file)
    except Unreadable:
        raise
    except zipfile.BadZipFile as error:
        raise Unreadable("is no Word document (.docx)") from error
    except MemoryError:
        raise
    except Exception as error:  # whatever a malformed part makes a parser do
        raise Unreadable(f"is no Word document that can be read: {type(error).__name__}") from error


def _level(paragraph: Paragraph) -> int:
    """1 for the title, 2 and more for headings, 0 for text."""
    style = paragraph.style.name if paragraph.style is not None else None
    if style == "Title":
        return 1
    match = _HEADING.match(style or "")
    return int(match[1]) + 1 if match else 0


def _rows(table: Table) -> str:
    """The cells of each row, separated by bars; a cell that spans several columns appears once."""
    rows = []
    for row in table.rows:
        texts = {cell._tc: " ".join(cell.text.split()) for cell in row.cells}
        rows.append(" | ".join(texts.values()))
    return "\n".join(rows)
