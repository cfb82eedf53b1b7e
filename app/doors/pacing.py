"""Pacing: the text of a stream in pieces of the reader's own size. Nothing here slows the turn.

A piece that ends inside an event is numbered `41:12`: 12 characters of event 41 were sent. A reader
that comes back with such a cursor gets the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import orjson

from app.events.follow import Reading
from app.events.run import Run
from app.llm.base import unescape


@dataclass(frozen=True, slots=True)
class Piece:
    """A text and the cursor after it; `offset` 0 means the whole of event `seq`."""

    text: str
    seq: int
    offset: int

    @property
    def cursor(self) -> bytes:
        return b"%d:%d" % (self.seq, self.offset) if self.offset else b"%d" % self.seq

    def wire(self, *, with_id: bool) -> bytes:
        data = b'data: {"chunk": %b}\n\n' % orjson.dumps(self.text)
        return b"id: %b\n%b" % (self.cursor, data) if with_id else data


class Pacer:
    """Takes runs of text, gives pieces of at most `chunk_size` characters (0: as they came).

    `skip` is (event, characters) of a cursor inside an event: that much of it the reader has already.
    """

    def __init__(self, chunk_size: int, *, whole: bool = False, skip: tuple[int, int] | None = None) -> None:
        self._size = chunk_size
        self._whole = whole
        self._skip = skip
        self._events: deque[tuple[int, str]] = deque()
        self._offset = 0

    def add(self, run: Run) -> None:
        skip, self._skip = self._skip, None
        if skip is not None and run.first == skip[0] and not self._events:
            self._offset = skip[1]
        for seq, chunk in run.numbered():
            text = unescape(chunk)
            if not self._events and self._offset >= len(text):
                self._offset = 0
                continue
            self._events.append((seq, text))

    def clear(self) -> None:
        self._events.clear()
        self._offset = 0

    def next(self, *, is_last: bool) -> Piece | None:
        """The next piece of what is here; `None` if nothing is, or (one whole answer) not all of it."""
        events = self._events
        if not events or (self._whole and not is_last):
            return None
        if self._whole and not self._size:
            return self._take(sum([len(text) for _, text in events]) - self._offset)
        if not self._size:
            return self._take(len(events[0][1]) - self._offset)
        return self._take(self._size)

    def _take(self, wanted: int) -> Piece:
        parts: list[str] = []
        while True:
            seq, text = self._events[0]
            rest = text[self._offset : self._offset + wanted]
            parts.append(rest)
            wanted -= len(rest)
            end = self._offset + len(rest)
            if end < len(text):
                self._offset = end
                return Piece("".join(parts), seq, end)
            self._events.popleft()
            self._offset = 0
            if not wanted or not self._events:
                return Piece("".join(parts), seq, 0)


async def pause(reading: Reading, seconds: float) -> None:
    """Wait between two pieces, but not past a terminate, a shutdown or the reader's leaving."""
    is_over = False

    def end() -> None:
        # Not read off the clock: a timer of uvloop may ring a moment before its time.
        nonlocal is_over
        is_over = True
        reading.notify()

    handle = asyncio.get_running_loop().call_later(seconds, end)
    try:
        while not (is_over or reading.gone or reading.stopping or reading.log.cut_at is not None):
            await reading.wait()
    finally:
        handle.cancel()
