"""Server-sent events as the command line reads them: bytes in, frames out.

Lines end at LF only: a splitter that knows all of Unicode's line ends would cut a chunk that contains one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. `type` is `text` for plain text, `done` for the mark, `cursor` for an id without data,
    `heartbeat` for the comment; otherwise the server's word. `id` is the number to come back with.
    """

    type: str
    chunk: str = ""
    id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Parser:
    """Feed it what the socket gives. `retry_seconds` is the server's last wish for a reconnect."""

    def __init__(self) -> None:
        self.retry_seconds: float | None = None
        self._rest = b""
        self._id: str | None = None
        self._data: list[str] = []
        self._has_id = False

    def feed(self, received: bytes) -> Iterator[Frame]:
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            frame = self._line(line.removesuffix(b"\r").decode("utf-8", errors="replace"))
            if frame is not None:
                yield frame

    def _line(self, line: str) -> Frame | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            return _heartbeat(line[1:].strip())
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self._id, self._has_id = value, True
        elif name == "retry" and value.isdigit():
            self.retry_seconds = int(value) / 1000
        return None

    def _dispatch(self) -> Frame | None:
        data, self._data = "\n".join(self._data), []
        seq, has_id = self._id, self._has_id
        self._id, self._has_id = None, False
        if not data:
            return Frame("cursor", id=seq) if has_id else None
        if data == DONE:
            return Frame("done")
        fields = _object(data)
        return Frame(str(fields.get("type", "text")), str(fields.get("chunk", "")), seq, fields)


def _heartbeat(comment: str) -> Frame | None:
    word, _, rest = comment.partition(" ")
    return Frame("heartbeat", fields=_object(rest)) if word == "heartbeat" else None


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
