"""Text and Markdown: encodings, headings, paragraphs, lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.documents.plain import read_markdown, read_text
from app.documents.section import Unreadable


def sections(text: str) -> list[tuple[str, list[tuple[int, str]]]]:
    return [(section.heading, list(section.paragraphs)) for section in read_markdown(text.encode())]


def test_paragraphs_begin_at_their_lines() -> None:
    [section] = read_text(b"one\ntwo\r\n\r\n\r\nthree\r\rfour")

    assert list(section.paragraphs) == [(1, "one\ntwo"), (5, "three"), (7, "four")]


def test_headings_are_a_path_and_a_higher_one_ends_it() -> None:
    text = "# Guide\nintro\n## Install ##\n### On `Linux`\napt\n## Use\nrun\n# Other\nend\n"

    assert sections(text) == [
        ("Guide", [(2, "intro")]),
        ("Guide > Install > On Linux", [(5, "apt")]),
        ("Guide > Use", [(7, "run")]),
        ("Other", [(9, "end")]),
    ]


def test_underlined_headings_count_and_rules_and_tables_do_not() -> None:
    text = "Guide\n=====\n\nUse\n---\ntext\n\n---\n\n- item\n---\n| a |\n|---|\n"

    assert [heading for heading, _ in sections(text)] == ["Guide > Use"]


def test_a_heading_in_a_code_block_or_front_matter_is_none() -> None:
    text = "---\ntitle: x\n# no\n---\n# Real\n```sh\n# comment\n~~~\n```\n~~~\n# neither\n~~~\n"

    assert [heading for heading, _ in sections(text)] == ["", "Real"]


def test_links_and_emphasis_of_a_heading_are_not_shown() -> None:
    assert sections("# *The* [house](http://x) {#house}\ntext")[0][0] == "The house"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_a_text_is_read_whatever_its_encoding(encoding: str) -> None:
    [section] = read_text("Grüße aus Köln".encode(encoding))

    assert list(section.paragraphs) == [(1, "Grüße aus Köln")]


def test_what_holds_nul_is_no_text() -> None:
    with pytest.raises(Unreadable, match="no text"):
        list(read_text(b"\x7fELF\0\0"))


@given(st.binary(max_size=300))
def test_no_bytes_break_the_readers(content: bytes) -> None:
    for read in (read_text, read_markdown):
        try:
            found = [(section.heading, list(section.paragraphs)) for section in read(content)]
        except Unreadable:
            continue
        for heading, paragraphs in found:
            for text in (heading, *[text for _, text in paragraphs]):
                assert "\0" not in text
                text.encode()
