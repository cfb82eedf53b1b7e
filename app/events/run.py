"""Run: consecutive events of one kind, encoded once for all readers.

The wire form is that of the contract: `id: N`, one JSON object with `chunk` in `data:`, a blank line.
It is made here and not in a door because every reader of a session shares the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from app.domain.event import EventKind

_FRAME = re.compile(rb"(?:id: (\d+)\n)?data: ([^\n]*)\n\n")


class Run:
    """Events `first` to `last`. `ready` is false while a fact waits for its commit: no reader sees it yet."""

    __slots__ = ("at_ms", "fact", "first", "kind", "last", "ready", "turn_id", "wire")

    def __init__(
        self,
        first: int,
        last: int,
        kind: EventKind,
        wire: bytes,
        *,
        turn_id: str | None = None,
        at_ms: int = 0,
        ready: bool = True,
        fact: bytes = b"",
    ) -> None:
        self.first = first
        self.last = last
        self.kind = kind
        self.wire = wire
        self.turn_id = turn_id
        self.at_ms = at_ms
        self.ready = ready
        self.fact = fact
        """A fact's JSON object, as it is stored."""

    def frames(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each frame as (number, JSON object); a frame that carries no number has the run's last."""
        for number, data in _FRAME.findall(self.wire):
            yield int(number) if number else self.last, orjson.loads(data)


def text_wire(first: int, chunks: list[bytes]) -> bytes:
    """Frames of plain text, numbered from `first`. Chunks are escaped JSON text (see `llm.base.TextDelta`)."""
    if len(chunks) == 1:
        return b'id: %d\ndata: {"chunk": "%b"}\n\n' % (first, chunks[0])
    return b"".join([b'id: %d\ndata: {"chunk": "%b"}\n\n' % pair for pair in enumerate(chunks, first)])


def thinking_wire(first: int, chunks: list[bytes]) -> bytes:
    return b"".join(
        [b'id: %d\ndata: {"chunk": "%b", "type": "thinking"}\n\n' % pair for pair in enumerate(chunks, first)]
    )


def wire_of(kind: EventKind, first: int, chunks: list[bytes]) -> bytes:
    return text_wire(first, chunks) if kind is EventKind.TEXT else thinking_wire(first, chunks)


def fact_json(kind: EventKind, fields: dict[str, Any], chunk: str = "") -> bytes:
    """A fact as the JSON object of its frame; `chunk` is what a plain front end shows of it."""
    head = b'{"chunk": %b, "type": "%b"' % (orjson.dumps(chunk), kind.encode())
    return head + (b", " + orjson.dumps(fields)[1:] if fields else b"}")


def fact_wire(seq: int | None, fact: bytes) -> bytes:
    """The frame of a fact; without a number for what belongs to one reader only."""
    return b"data: %b\n\n" % fact if seq is None else b"id: %d\ndata: %b\n\n" % (seq, fact)


def fact_run(seq: int, kind: EventKind, fact: bytes, *, turn_id: str | None, at_ms: int = 0, ready: bool = True) -> Run:
    return Run(seq, seq, kind, fact_wire(seq, fact), turn_id=turn_id, at_ms=at_ms, ready=ready, fact=fact)


def cut(run: Run, after: int) -> Run:
    """The part of a run of numbered frames above `after` (which lies inside it)."""
    mark = b"\n\nid: %d\n" % (after + 1)
    place = run.wire.find(mark)
    wire = run.wire[place + 2 :] if place >= 0 else run.wire
    return Run(after + 1, run.last, run.kind, wire, turn_id=run.turn_id, at_ms=run.at_ms)
