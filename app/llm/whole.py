"""Bodies of status 200 that are no event stream: one JSON object, a web page. The first bytes tell which.

The content type does not: proxies and servers get it wrong in every combination.
"""

from __future__ import annotations

import html
import re

from app.llm.base import Delta
from app.llm.dialect import Reported
from app.llm.parse import BOM, StreamParser

_MAX_PAGE = 64 * 1024
_PADDING = re.compile(rb"\s*(?:\xef\xbb\xbf\s*)?")
_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_NOT_TEXT = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|$)|<[^<>]*>", re.IGNORECASE | re.DOTALL)


def parser_for(first: bytes) -> StreamParser | None:
    """The parser for a body that begins so; `None` while there is nothing but white space, which may go on long."""
    place = _PADDING.match(first).end()  # type: ignore[union-attr]  # it matches everything
    begin = first[place : place + 3]
    if not begin or (len(begin) < 3 and BOM.startswith(begin)):
        return None
    if begin[:1] in (b"{", b"["):
        return WholeParser()
    return PageParser() if begin[:1] == b"<" else StreamParser()


class WholeParser(StreamParser):
    """An answer as one JSON object, or as objects of which each is a line."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[bytes] = []

    def feed(self, read: bytes) -> list[Delta]:
        self._blocks.append(read)
        return []

    def finish(self) -> list[Delta]:
        deltas: list[Delta] = []
        body = b"".join(self._blocks).strip().removeprefix(BOM).strip()
        self._blocks = []
        self._take(body, deltas, is_last=True)
        if not self.has_choice and self.failure is None and not self._stray:
            for line in body.split(b"\n"):
                self._take(line, deltas, is_last=True)
        if not self.has_choice and not self._stray:
            self._stray = body[:2000]
        self._release_held(deltas)
        self.done = self.has_choice and self.failure is None
        self._close_calls()
        return deltas


class PageParser(StreamParser):
    """A web page: never an answer, but its words say whose it is."""

    __slots__ = ("_page",)

    def __init__(self) -> None:
        super().__init__()
        self._page = b""

    def feed(self, read: bytes) -> list[Delta]:
        self._page += read
        return self.finish() if len(self._page) > _MAX_PAGE else []

    def finish(self) -> list[Delta]:
        page = self._page[:_MAX_PAGE].decode(errors="replace")
        title = _TITLE.search(page)
        words = " ".join(html.unescape(title[1] if title and title[1].strip() else _NOT_TEXT.sub(" ", page)).split())
        self.failure = Reported(f"a web page came instead of an answer: {words[:500]}", kind="web_page")
        return []
