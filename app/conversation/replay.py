"""Replay: what one reader is given from the journal, in pieces, so that a slow reader does not keep a whole answer."""

from __future__ import annotations

import asyncio

from app.events.follow import Reading
from app.events.run import Run

PIECE_BYTES = 1 << 16
"""About what a reader is sent of a piece."""
KEEP_SECONDS = 0.25
"""A reader that takes longer for a piece has the next one read from the journal again: until then it costs nothing."""


class Replay:
    """Takes the place of `Reading.replay`, whose page may have megabytes."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._pieces: list[list[Run]] = []
        """What is left of the last page, the next piece last."""
        self._cursor = -1
        """Where the reading stood when they were left."""
        self._timer: asyncio.TimerHandle | None = None

    async def next(self) -> list[Run]:
        """The next events and the cursor moved behind them; `[]` and Unavailable as from `Reading.replay`."""
        reading, pieces = self._reading, self._pieces
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not pieces or reading.cursor != self._cursor:
            pieces[:] = reversed(_pieces(await reading.replay()))
        if not pieces:
            return []
        piece = pieces.pop()
        reading.cursor = self._cursor = piece[-1].last
        if pieces:
            self._timer = asyncio.get_running_loop().call_later(KEEP_SECONDS, pieces.clear)
        return piece


def _pieces(runs: list[Run]) -> list[list[Run]]:
    """The same events in the same order, about `PIECE_BYTES` in each list; a single event stays whole."""
    found: list[list[Run]] = []
    size = PIECE_BYTES
    for run in runs:
        for part in _parts(run) if run.size > PIECE_BYTES else (run,):
            if size + part.size > PIECE_BYTES:
                found.append([])
                size = 0
            found[-1].append(part)
            size += part.size
    return found


def _parts(run: Run) -> list[Run]:
    """A long run of text in runs of at most `PIECE_BYTES`, or of one event each that is longer."""
    if run.count < 2:
        return [run]
    each = max(PIECE_BYTES * run.count // run.size, 1)
    chunks = run.chunks
    return [
        Run(
            run.first + place,
            run.first + min(place + each, run.count) - 1,
            run.kind,
            chunks=chunks[place : place + each],
            turn_id=run.turn_id,
            at_ms=run.at_ms,
        )
        for place in range(0, run.count, each)
    ]
