"""Run: consecutive events of one kind, made once and shared by all readers of a session.

A run holds the deltas of text and thinking as they arrived, or the JSON object of a fact. Doors encode it for their
protocol; the busiest door keeps its encoded bytes in `encoded`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

import orjson

from app.domain.event import Event, EventKind, TurnQueued, TurnStarted, chunk_of
from app.llm.base import unescape

FRAME_BYTES = 40
"""Approximate size of one event without its text: its number and the JSON around it."""
RUN_BYTES = 360
"""What the objects of a run take in memory beside what readers are sent of it."""


class Run:
    """Events `first` to `last`.

    Text and thinking have `text`, the inside of a JSON string (see `llm.base.TextDelta`), in `count` chunks: one for
    each number, or a single one when deltas were merged for a reader that lags (the frame then has number `last`).
    A fact has `payload`, its JSON object. `size` is about how many bytes a reader is sent.

    `ready` is false until the fact is committed; no reader sees it before. `is_void`: the commit failed. `is_stored` is
    false of a fact that readers were shown before its row was committed.
    """

    __slots__ = (
        "_chunks",
        "_lengths",
        "at_ms",
        "count",
        "encoded",
        "first",
        "is_stored",
        "is_void",
        "kind",
        "last",
        "payload",
        "ready",
        "size",
        "text",
        "turn_id",
    )

    def __init__(
        self,
        first: int,
        last: int,
        kind: EventKind,
        *,
        chunks: list[bytes] | None = None,
        payload: bytes = b"",
        turn_id: str | None = None,
        at_ms: int = 0,
        ready: bool = True,
    ) -> None:
        self.first = first
        self.last = last
        self.kind = kind
        self.payload = payload
        self.turn_id = turn_id
        self.at_ms = at_ms
        self.ready = ready
        self.is_void = False
        self.is_stored = True
        self.encoded: bytes | None = None
        """Frames of the SSE door, encoded for the first reader that needs them (routers/sse.py)."""
        self._chunks: list[bytes] | None = None
        self._lengths: array[int] | None = None
        if chunks is None:
            self.count = 0
            self.text = b""
            self.size = len(payload) + FRAME_BYTES
        elif len(chunks) == 1:
            self.count = 1
            self.text = chunks[0]
            self.size = len(self.text) + FRAME_BYTES
        else:
            self.count = len(chunks)
            self.text = b"".join(chunks)
            self.size = len(self.text) + FRAME_BYTES * self.count
            self._chunks = chunks

    @property
    def chunks(self) -> list[bytes]:
        """The text as it came; empty for facts."""
        if self.count < 2:
            return [self.text] if self.count else []
        if self._chunks is not None:
            return self._chunks
        assert self._lengths is not None
        found, position = [], 0
        for length in self._lengths:
            found.append(self.text[position : position + length])
            position += length
        return found

    def pack(self) -> None:
        """Keep the sizes of the chunks instead of the chunks: thousands of small objects cost memory."""
        if self._chunks is not None:
            self._lengths = array("I", map(len, self._chunks))
            self._chunks = None

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Yield (number, chunk) of text and thinking; merged deltas have the last number."""
        return zip(range(self.last - self.count + 1, self.last + 1), self.chunks, strict=True)

    def frames(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each event as (number, JSON object with `chunk`)."""
        if not self.count:
            yield self.last, orjson.loads(self.payload)
            return
        kind = {} if self.kind is EventKind.TEXT else {"type": self.kind.value}
        for number, chunk in self.numbered():
            yield number, {"chunk": unescape(chunk), **kind}

    def after(self, number: int) -> Run:
        """The events with a number above `number`, which lies in this run."""
        if self.count <= self.last - self.first:
            return self
        chunks = self.chunks[number + 1 - self.first :]
        return Run(number + 1, self.last, self.kind, chunks=chunks, turn_id=self.turn_id, at_ms=self.at_ms)


def fact_run(seq: int, event: Event, *, at_ms: int = 0, ready: bool = True) -> Run:
    return Run(seq, seq, event.kind, payload=fact_json(event), turn_id=event.turn_id, at_ms=at_ms, ready=ready)


def fact_json(event: Event) -> bytes:
    """An event as the JSON object of its frame."""
    return _encode(event, event.to_json())


def fact_row(event: TurnQueued | TurnStarted) -> bytes:
    """The JSON object that the row of the event stores: without the message, which has a row of its own."""
    fields = event.to_json()
    del fields["message"]
    return _encode(event, fields)


def _encode(event: Event, fields: dict[str, object]) -> bytes:
    head = b'{"chunk": %b, "type": "%b"' % (orjson.dumps(chunk_of(event)), event.kind.encode())
    return head + (b", " + orjson.dumps(fields)[1:] if fields else b"}")
