"""What a person reads of an HTML page, as text. No parser of documents, but linear in the length of what it gets."""

from __future__ import annotations

import re
from html import unescape

_TAG = re.compile(r"<(?:!--|(?P<end>/?)(?P<name>[A-Za-z][A-Za-z0-9-]{0,40})|[!?/])")
_HREF = re.compile(r"\shref\s{0,9}=\s{0,9}(?P<quote>[\"']?)", re.IGNORECASE)
_MAX_TAG = 4_000
"""Characters of a tag in which an address is looked for."""
_LONG_NUMBER = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")
_BLANKS = re.compile(r"[ \t\r\n\f\v\xa0]+")
_SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select", "canvas"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "br", "dd", "details", "div", "dl", "dt", "fieldset"}
    | {"figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html"}
    | {"legend", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead"}
    | {"title", "tr", "ul"}
)
_PREFIXES = {"title": "# ", "li": "- "} | {f"h{number}": "#" * number + " " for number in range(1, 7)}
_APART = frozenset({"p", "pre", "table", "ul", "ol", "title", "h1", "h2", "h3", "h4", "h5", "h6"})
"""Blocks with an empty line before them."""


def page_text(page: str) -> str:
    """Paragraphs, headings with `#`, items with `-`, links as `[text](address)`; scripts and styles are left out."""
    return _Page(page).read()


class _Page:
    def __init__(self, page: str) -> None:
        self._page = page
        self._lines: list[str] = []
        self._line: list[str] = []
        self._links: list[str | None] = []
        self._is_preformatted = False

    def read(self) -> str:
        place = 0
        while (start := self._page.find("<", place)) >= 0:
            tag = _TAG.match(self._page, start)
            self._add(self._page[place : start if tag else start + 1])
            place = self._after(tag) if tag else start + 1
        self._add(self._page[place:])
        self._break()
        return "\n".join(self._lines).strip()

    def _after(self, tag: re.Match[str]) -> int:
        """Take a tag; where the text goes on."""
        if tag[0] == "<!--":
            return self._behind("-->", tag.end())
        end = self._behind(">", tag.end())
        name = (tag["name"] or "").lower()
        if name in _SKIPPED and not tag["end"]:
            closing = re.compile(f"</{name}", re.IGNORECASE).search(self._page, end)
            return len(self._page) if closing is None else self._behind(">", closing.end())
        if name in _BLOCKS:
            self._begin_block(name, is_end=bool(tag["end"]))
        elif name == "a":
            self._link(None if tag["end"] else self._page[tag.end() : min(end, tag.end() + _MAX_TAG)])
        elif name in ("td", "th") and not tag["end"] and self._line:
            self._line.append(" | ")
        return end

    def _behind(self, mark: str, place: int) -> int:
        found = self._page.find(mark, place)
        return len(self._page) if found < 0 else found + len(mark)

    def _begin_block(self, name: str, *, is_end: bool) -> None:
        self._break()
        if name == "pre":
            self._is_preformatted = not is_end
        if name in _APART and self._lines and self._lines[-1]:
            self._lines.append("")
        if not is_end and name in _PREFIXES:
            self._line.append(_PREFIXES[name])

    def _link(self, attributes: str | None) -> None:
        if attributes is not None:
            address = _address(attributes)
            self._links.append(address)
            self._line.append("[" if address else "")
        elif self._links and (address := self._links.pop()):
            self._line.append(f"]({address})")

    def _add(self, text: str) -> None:
        text = unescape(_LONG_NUMBER.sub("\ufffd", text))
        if not self._is_preformatted:
            text = _BLANKS.sub(" ", text)
            self._line.append(text)
            return
        *lines, last = text.split("\n")
        for line in lines:
            self._line.append(line)
            self._break()
        self._line.append(last)

    def _break(self) -> None:
        line = "".join(self._line)
        self._line.clear()
        line = line.rstrip() if self._is_preformatted else _BLANKS.sub(" ", line).strip()
        if line and line not in _EMPTY:
            self._lines.append(line)


def _address(attributes: str) -> str | None:
    """Where a link leads; `None`: nowhere, or to nothing that can be fetched."""
    match = _HREF.search(attributes)
    if match is None:
        return None
    rest = attributes[match.end() :]
    value = rest.partition(match["quote"])[0] if match["quote"] else rest.partition(">")[0].split(" ", 1)[0]
    address = _BLANKS.sub("", unescape(_LONG_NUMBER.sub("", value)))
    return address if address and not address.lower().startswith(("#", "javascript:", "data:")) else None


_EMPTY = frozenset(prefix.strip() for prefix in _PREFIXES.values())
