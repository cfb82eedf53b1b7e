"""Entry: what an owner adds to the tail of a session at a time: all events since its entry before.

On the wire: a line of JSON, then the bytes of its events, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from app.domain.event import EventKind
from app.events.run import Run

FIELD = b"events"
FENCE = b"fence"
"""The field of an entry that has no events: numbers below its own are refused from then on."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The events with `after` < number ≤ `upto`. `stored`: those up to this number were in the database by then."""

    after: int
    upto: int
    stored: int
    runs: tuple[Run, ...]

    @property
    def has_facts(self) -> bool:
        return any(not run.count for run in self.runs)

    def runs_after(self, number: int) -> list[Run]:
        """The runs with a number above `number`, the first of them cut."""
        runs = [run for run in self.runs if run.last > number]
        if runs and runs[0].first <= number:
            runs[0] = runs[0].after(number)
        return runs


def encode(after: int, upto: int, stored: int, runs: Sequence[Run]) -> bytes:
    described = [
        (
            run.first,
            run.last,
            run.kind.value,
            run.turn_id,
            run.at_ms,
            [len(chunk) for chunk in run.chunks] if run.count else len(run.payload),
        )
        for run in runs
    ]
    head = orjson.dumps((after, upto, stored, described))
    return b"\n".join([head, b"".join([run.text if run.count else run.payload for run in runs])])


def decode(encoded: bytes) -> Entry:
    """Raises ValueError: this is not an entry."""
    head, _, body = encoded.partition(b"\n")
    after, upto, stored, described = orjson.loads(head)
    runs, place = [], 0
    for first, last, kind, turn_id, at_ms, sizes in described:
        if isinstance(sizes, int):
            payload = body[place : place + sizes]
            place += sizes
            runs.append(Run(first, last, EventKind(kind), payload=payload, turn_id=turn_id, at_ms=at_ms))
            continue
        chunks = []
        for size in sizes:
            chunks.append(body[place : place + size])
            place += size
        runs.append(Run(first, last, EventKind(kind), chunks=chunks, turn_id=turn_id, at_ms=at_ms))
    return Entry(after, upto, stored, tuple(runs))
