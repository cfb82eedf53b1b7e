"""PDF by pypdf: a section for each page; positions are pages."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import BinaryIO

import pypdf
from pypdf.errors import DependencyError, PyPdfError

from app.documents.section import Report, Section, Unreadable, clean

_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[a-zà-ÿ])")
_BLANK = re.compile(r"\n[ \t]*\n")


def read_pdf(file: BinaryIO, report: Report) -> Iterator[Section]:
    """Skips pages without text (mostly scanned pages); reports pages that cannot be read.

    Raises:
        Unreadable: it is no PDF, needs a password, or none of its pages holds text.
    """
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of every irregularity that it tolerates
    reader = _open(file)
    has_text, broken = False, []
    for number in range(1, _count(reader) + 1):
        try:
            text = clean(reader.pages[number - 1].extract_text())
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception:  # whatever a malformed page makes a parser do
            broken.append(number)
            continue
        text = _HYPHEN.sub("", text).strip()
        if text:
            has_text = True
            yield Section("", [(number, paragraph) for paragraph in _BLANK.split(text)])
    if broken:
        pages = ", ".join([str(number) for number in broken[:10]]) + (", …" if len(broken) > 10 else "")
        report(f"cannot be read on page {pages}" if len(broken) == 1 else f"cannot be read on pages {pages}")
    elif not has_text:
        raise Unreadable("holds no text: its pages are pictures, or empty")


def _open(file: BinaryIO) -> pypdf.PdfReader:
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("is encrypted: it needs a password")
        return reader
    except DependencyError as error:
        raise Unreadable("is encrypted in a way that cannot be read") from error
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise Unreadable(f"is no PDF that can be read: {type(error).__name__}") from error


def _count(reader: pypdf.PdfReader) -> int:
    try:
        return len(reader.pages)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"is no PDF that can be read: {type(error).__name__}") from error
