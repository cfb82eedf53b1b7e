"""Stream: the events of one reader, for every door that does not need each tick of the SSE one."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from app.conversation.conversation import Conversation
from app.conversation.replay import Replay
from app.conversation.view import View
from app.domain.errors import Unavailable
from app.domain.event import EventKind
from app.events.follow import Reading
from app.events.run import Run


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing was to be sent for some seconds; `phase` says what the session is busy with."""

    phase: dict[str, object]


@dataclass(frozen=True, slots=True)
class Later:
    """The server stops, or cannot read its database: the reader is to come back with the cursor `after`.

    The last thing of its stream. The turn is not over.
    """

    after: int


class _Stream:
    """See `readers.Stream`."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.last_sent = time.monotonic()


async def stream(
    conversation: Conversation, reading: Reading, view: View
) -> AsyncGenerator[list[Run] | Silence | Later, None]:
    """Yield what `view` shows, as it comes: all that is there together, in order, each event once.

    The caller has entered `reading`. It takes its time between two steps: a reader that lags gets merged text. The
    stream ends after the last event of the view, after `Later`, or when `leave(reading)` is called.
    """
    session_log, readers = reading.log, conversation.readers
    held, replay = _Stream(reading), Replay(reading)
    readers.add(held)
    try:
        while not reading.gone:
            try:
                runs = reading.take()
                if runs is None:
                    runs = await replay.next()
                    if not runs:
                        continue
            except Unavailable:
                yield Later(reading.cursor)
                return
            if runs:
                shown, is_over = _shown(runs, reading, view)
                if shown:
                    held.last_sent = time.monotonic()
                    yield shown
                if is_over:
                    return
            elif view.is_exhausted(session_log):
                return
            elif reading.stopping:
                yield Later(reading.cursor)
                return
            elif not reading.has_news:
                await reading.wait()
                if not (reading.has_news or reading.gone or reading.stopping):
                    held.last_sent = time.monotonic()
                    yield Silence(conversation.phase(session_log))
    finally:
        readers.discard(held)


def leave(reading: Reading) -> None:
    """Have the stream of this reading end: its reader has left."""
    reading.gone = True
    reading.notify()


def _shown(runs: list[Run], reading: Reading, view: View) -> tuple[list[Run], bool]:
    """What of the runs the reader is shown, and whether its stream ends with them."""
    shown = []
    for run in runs:
        if not view.shows(run):
            continue
        shown.append(run)
        if run.kind is not EventKind.TEXT and view.ends_with(run, reading.log):
            return shown, True
    return shown, False
