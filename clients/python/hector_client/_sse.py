"""Server-sent events: bytes in, frames out. Does no I/O.

SSE libraries (httpx-sse, httpx2's EventSource) differ in two points that matter here. Lines end at LF (or CR LF) only:
a splitter that knows all of Unicode's line ends would cut a chunk that contains one. And the comment `cursor 40`, with
which the stream of a session begins, is a cursor to keep; so is a block with an `id` and without data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Frame:
    """One block or comment. `type` is `text` for plain text, `done` for the end mark, `cursor` and `heartbeat` for
    the comments of that name; otherwise the server's word. `id` is the cursor to come back with.
    """

    type: str
    id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Parser:
    """Takes bytes as they were received. `retry_seconds` is the pause that the server last asked for."""

    def __init__(self) -> None:
        self.retry_seconds: float | None = None
        self._rest = b""
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, received: bytes) -> Iterator[Frame]:
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            frame = self._take(line.removesuffix(b"\r").decode("utf-8", errors="replace"))
            if frame is not None:
                yield frame

    def _take(self, line: str) -> Frame | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            return _comment(line[1:].strip())
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        elif name == "retry" and value.isdigit():
            self.retry_seconds = int(value) / 1000
        return None

    def _dispatch(self) -> Frame | None:
        data, self._data = "\n".join(self._data), []
        cursor, self._id = self._id, None
        if not data:
            return Frame("cursor", cursor) if cursor is not None else None
        if data == DONE:
            return Frame("done")
        fields = _object(data)
        return Frame(str(fields.get("type", "text")), cursor, fields)


def _comment(comment: str) -> Frame | None:
    word, _, rest = comment.partition(" ")
    if word == "cursor" and rest:
        return Frame("cursor", rest)
    return Frame("heartbeat", fields=_object(rest)) if word == "heartbeat" else None


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
