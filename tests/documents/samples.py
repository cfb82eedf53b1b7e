"""PDF and Word files made for tests."""

from __future__ import annotations

import io

import docx
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

BROKEN = "broken"


def pdf(*pages: str, password: str | None = None) -> bytes:
    """A page for each text, in plain letters; an empty text is a page without any, `BROKEN` one nobody can read."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(595, 842)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        lines = " ".join([f"({line}) Tj T*" for line in text.split("\n")]) if text else ""
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 14 TL 50 800 Td {lines} ET".encode())
        if text == BROKEN:
            stream[NameObject("/Filter")] = NameObject("/NobodyKnows")
        page[NameObject("/Contents")] = writer._add_object(stream)
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def word() -> bytes:
    """A title, two chapters, a table."""
    made = docx.Document()
    made.add_heading("Handbook", 0)
    made.add_paragraph("Who works here.")
    made.add_heading("Holidays", 1)
    made.add_paragraph("Thirty days a year.")
    table = made.add_table(rows=2, cols=2)
    for cell, text in zip(
        [cell for row in table.rows for cell in row.cells], ["month", "days", "May", "two"], strict=True
    ):
        cell.text = text
    made.add_heading("Sick leave", 2)
    made.add_paragraph("Call before nine.")
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()
