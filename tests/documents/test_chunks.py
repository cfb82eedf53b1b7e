"""Chunks: nothing is lost, none is too long, each knows where it begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.documents.chunks import cut
from app.documents.section import Section

WORDS = st.text("abc .\n!", min_size=1, max_size=120)


@given(st.lists(WORDS, max_size=8), st.integers(10, 60))
def test_all_words_are_there_in_order_and_no_chunk_is_too_long(texts: list[str], size: int) -> None:
    section = Section("h", list(enumerate(texts, 1)))

    chunks = list(cut([section], size=size, unit="paragraph"))

    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join("".join(t.split()) for t in texts)
    assert all(0 < len(chunk.text) <= size for chunk in chunks)
    assert [chunk.position for chunk in chunks] == sorted(chunk.position for chunk in chunks)


def test_paragraphs_of_a_section_are_put_together_and_sections_are_not() -> None:
    sections = [Section("a", [(1, "one"), (3, "two"), (5, "x" * 30)]), Section("b", [(9, "three")])]

    chunks = list(cut(sections, size=40, unit="line"))

    assert [(chunk.heading, chunk.position, chunk.text) for chunk in chunks] == [
        ("a", 1, "one\n\ntwo"),
        ("a", 5, "x" * 30),
        ("b", 9, "three"),
    ]


def test_a_long_paragraph_is_cut_after_a_line_else_a_sentence_else_a_word() -> None:
    def texts(paragraph: str) -> list[str]:
        return [chunk.text for chunk in cut([Section("", [(1, paragraph)])], size=20, unit="line")]

    assert texts("first line here\nsecond line of it") == ["first line here", "second line of it"]
    assert texts("A short sentence. Another one here.") == ["A short sentence.", "Another one here."]
    assert texts("no end of a sentence in sight") == ["no end of a sentence", "in sight"]
    assert texts("x" * 45) == ["x" * 20, "x" * 20, "x" * 5]


def test_a_part_of_a_paragraph_begins_at_its_own_line() -> None:
    paragraph = "\n".join(f"line number {number}" for number in range(10, 20))

    chunks = list(cut([Section("", [(10, paragraph)])], size=32, unit="line"))

    assert all(f"line number {chunk.position}" in chunk.text.split("\n")[0] for chunk in chunks)
    assert len(chunks) == 5


def test_the_same_words_under_another_heading_are_another_chunk() -> None:
    chunks = cut([Section("a", [(1, "x")]), Section("b", [(2, "x")]), Section("a", [(3, "x")])], size=9, unit="line")

    digests = [chunk.digest for chunk in chunks]

    assert digests[0] == digests[2] != digests[1]
