"""Text and Markdown: paragraphs are split at blank lines, sections at headings; positions are lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from app.documents.section import Section, Unreadable, clean, join_headings

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
# Each part ends at the next opening bracket, so that no bracket is looked at from every one before it.
_DECORATION = re.compile(r"[*_`]+|\[([^\[\]]*)\]\((?:[^()]|\([^()]*\))*\)|\{#[^{}]*\}")
_LIST_OR_TABLE = re.compile(r"\s*(?:[-*+>|]|\d+[.)])")


def decode(content: bytes) -> str:
    """Decode by byte order mark, else as UTF-8, else as Windows-1252, the most common other encoding.

    Raises:
        Unreadable: the content is binary.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if b"\0" in content:
        raise Unreadable("is no text: it holds NUL bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def read_text(content: bytes) -> Iterator[Section]:
    yield Section("", _paragraphs(enumerate(_lines(content), 1)))


def read_markdown(content: bytes) -> Iterator[Section]:
    """A section per heading, ATX or underlined. Lines in code blocks and front matter are not headings."""
    headings: list[str] = []
    held: list[tuple[int, str]] = []
    fence = ""
    lines = _lines(content)
    front = _front_matter(lines)
    for number, line in enumerate(lines, 1):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" \t" + fence[0]):
                fence = ""
        elif mark:
            fence = mark[1]
        elif number > front and (found := _heading(line, held, number)):
            level, title = found
            yield from _section(headings, held)
            held = []
            headings = [*(headings + [""] * level)[: level - 1], title]
            continue
        held.append((number, line))
    yield from _section(headings, held)


def _heading(line: str, held: list[tuple[int, str]], number: int) -> tuple[int, str] | None:
    """(level, title) when the line ends a heading; the title line of an underlined one is removed from `held`."""
    match = _HEADING.match(line)
    if match:
        return len(match[1]), _bare(_without_closing(line[match.end() :]))
    underline = _UNDERLINE.fullmatch(line)
    if underline and held and held[-1][0] == number - 1 and held[-1][1].strip():
        alone = len(held) == 1 or not held[-2][1].strip()
        if alone and not _LIST_OR_TABLE.match(held[-1][1]):
            return (1 if underline[1][0] == "=" else 2), _bare(held.pop()[1])
    return None


def _without_closing(title: str) -> str:
    """A title without the white space around it, and without the number signs that may close it."""
    title = title.strip(" \t")
    opened = title.rstrip("#")
    return opened.rstrip(" \t") if not opened or opened[-1] in " \t" else title


def _bare(title: str) -> str:
    return " ".join(_DECORATION.sub(lambda match: match[1] or "", title).split())


def _section(headings: list[str], lines: list[tuple[int, str]]) -> Iterator[Section]:
    if any(line.strip() for _, line in lines):
        yield Section(join_headings(headings), _paragraphs(lines))


def _front_matter(lines: list[str]) -> int:
    """The last line of a YAML front matter block; 0 without one."""
    if lines and lines[0].rstrip() == "---":
        for number, line in enumerate(lines[1:200], 2):
            if line.rstrip() in ("---", "..."):
                return number
    return 0


def _lines(content: bytes) -> list[str]:
    return clean(decode(content)).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _paragraphs(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    held: list[str] = []
    start = 0
    for number, line in lines:
        if line.strip():
            start = start if held else number
            held.append(line.rstrip())
        elif held:
            yield start, "\n".join(held)
            held = []
    if held:
        yield start, "\n".join(held)
