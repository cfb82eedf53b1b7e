"""PDF and Word: pages and paragraphs, and what is wrong with those that cannot be read."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import docx
import pytest

from app.documents import kinds
from app.documents import word as word_
from app.documents.child import answer
from app.documents.kinds import Kind, kind_of, read
from app.documents.section import Unreadable
from app.documents.word import read_docx
from tests.documents.samples import BROKEN, pdf, word


def sections(name: str, content: bytes) -> list[tuple[str, list[tuple[int, str]]]]:
    return [(section.heading, list(section.paragraphs)) for section in read(kind_of(name), content, print)]


def problem(name: str, content: bytes) -> str:
    with pytest.raises(Unreadable) as raised:
        sections(name, content)
    return str(raised.value)


def test_a_pdf_is_read_page_by_page() -> None:
    content = pdf("The first page", "", "The third says inter-\nnational")

    assert sections("a.PDF", content) == [
        ("", [(1, "The first page")]),
        ("", [(3, "The third says international")]),
    ]


def test_a_pdf_that_cannot_be_read_says_why() -> None:
    assert "password" in problem("a.pdf", pdf("secret", password="x"))
    assert "no text" in problem("a.pdf", pdf("", ""))
    assert "no PDF" in problem("a.pdf", b"%PDF-1.7\nnot really")
    assert "no PDF" in problem("a.pdf", b"")


def test_a_broken_page_is_reported_and_the_others_are_read() -> None:
    said: list[str] = []

    found = [list(section.paragraphs) for section in read(kind_of("a.pdf"), pdf("one", BROKEN, "three"), said.append)]

    assert found == [[(1, "one")], [(3, "three")]]
    assert said == ["cannot be read on page 2"]


def test_a_word_document_is_read_with_its_headings_and_tables() -> None:
    assert sections("a.docx", word()) == [
        ("Handbook", [(2, "Who works here.")]),
        ("Handbook > Holidays", [(4, "Thirty days a year."), (5, "month | days\nMay | two")]),
        ("Handbook > Holidays > Sick leave", [(7, "Call before nine.")]),
    ]


def test_a_word_document_that_cannot_be_read_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "no document")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(2 << 20))

    assert "no Word document" in problem("a.docx", b"PK not really")
    assert "no Word document" in problem("a.docx", other.getvalue())
    assert len(bomb.getvalue()) < 10_000
    monkeypatch.setattr(word_, "MAX_UNPACKED", 1 << 20)
    with pytest.raises(Unreadable, match="unpacks to more than 1 MiB"):
        list(read_docx(bomb))


def test_the_end_of_a_name_says_how_it_is_read() -> None:
    found = {name: kind_of(name).format for name in ("a.md", "A.Markdown", "b.pdf", "c.docx", "d.rst", "LICENSE")}

    assert found == {
        "a.md": "markdown",
        "A.Markdown": "markdown",
        "b.pdf": "pdf",
        "c.docx": "docx",
        "d.rst": "text",
        "LICENSE": "text",
    }


def test_a_reader_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    kinds._kind.cache_clear()
    try:
        missing = kind_of("a.pdf").missing
        assert missing is not None
        assert "pip install 'hector[documents]'" in missing
        assert kind_of("a.md").missing is None
        assert kind_of("a.pdf").fingerprint(9) != Kind("pdf", "page", None).fingerprint(9)
    finally:
        kinds._kind.cache_clear()


@pytest.mark.parametrize("name", ["a.pdf", "a.docx"])
def test_whatever_is_wrong_with_a_file_it_is_an_answer(name: str, tmp_path: Path) -> None:
    content = pdf("The whale swims.", "And sings.") if name == "a.pdf" else word()
    path = tmp_path.resolve() / name
    order = {"do": "read", "path": str(path), "root": str(path.parent), "max_bytes": 1 << 20, "chunk_size": 100}
    chance = random.Random(7)
    for _ in range(40):
        broken = bytearray(content)
        for _ in range(chance.randrange(1, 30)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        path.write_bytes(broken[: chance.randrange(len(broken))] if chance.random() < 0.3 else broken)

        *_, last = answer({**order, "known": []})

        assert ("done" in last) != ("problem" in last)


def test_a_long_word_document_is_handed_on_in_parts() -> None:
    made = docx.Document()
    for number in range(word_.PORTION + 1):
        made.add_paragraph(f"paragraph {number}")
    file = io.BytesIO()
    made.save(file)
    file.seek(0)

    sizes = [len(list(section.paragraphs)) for section in word_.read_docx(file)]

    assert sizes == [word_.PORTION, 1]
