"""Kinds: which reader a file gets, by its suffix; unknown suffixes are read as text."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import PurePath
from typing import Literal

from app.documents.section import Report, Section, Unit

READER = 1
"""Increase when readers or chunking change, so that every file is read again."""

Format = Literal["text", "markdown", "pdf", "docx"]
_BY_SUFFIX: dict[str, Format] = {".md": "markdown", ".markdown": "markdown", ".pdf": "pdf", ".docx": "docx"}
_PACKAGES: dict[Format, str] = {"pdf": "pypdf", "docx": "docx"}


@dataclass(frozen=True, slots=True)
class Kind:
    """How a document is read. `missing`: what to install before it can be read; `None` when nothing is missing."""

    format: Format
    unit: Unit
    missing: str | None

    def fingerprint(self, chunk_size: int) -> str:
        """Differs when the same file would give other chunks."""
        return f"{READER}/{self.format}/{chunk_size}" + ("/missing" if self.missing else "")


def kind_of(path: str) -> Kind:
    return _kind(_BY_SUFFIX.get(PurePath(path).suffix.lower(), "text"))


@cache
def _kind(form: Format) -> Kind:
    unit: Unit = "page" if form == "pdf" else "paragraph" if form == "docx" else "line"
    package = _PACKAGES.get(form)
    missing = None
    if package is not None and find_spec(package) is None:
        missing = f"needs the reader of {form.upper()} files: pip install 'hector[documents]'"
    return Kind(form, unit, missing)


def read(kind: Kind, content: bytes, report: Report) -> Iterator[Section]:
    """The sections of a document, in order.

    Raises:
        Unreadable: at any section, not only the first.
    """
    match kind.format:
        case "text":
            from app.documents.plain import read_text

            return read_text(content)
        case "markdown":
            from app.documents.plain import read_markdown

            return read_markdown(content)
        case "pdf":
            from app.documents.pdf import read_pdf

            return read_pdf(io.BytesIO(content), report)
        case "docx":
            from app.documents.word import read_docx

            return read_docx(io.BytesIO(content))
