"""A stream whose text comes in pieces of the size that a reader has, or goes on inside an event.

For doors that read `conversation.stream`; server-sent events are paced where they are framed (routers/frames.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.conversation.conversation import Conversation
from app.conversation.stream import Later, Silence, stream
from app.conversation.view import View
from app.domain.event import EventKind
from app.doors.pacing import Pacer, Piece, pause
from app.events.follow import Reading
from app.events.run import Run


async def paced_stream(
    conversation: Conversation, reading: Reading, view: View
) -> AsyncGenerator[list[Run] | Piece | Silence | str, None]:
    """As `stream`, but text comes as pieces, and the last thing of a server that stops is the cursor to come back with.

    For a plain view, text comes in runs as ever.
    """
    pacer = None if view.is_plain else Pacer(view.chunk_size, whole=view.whole, skip=view.skip)
    sent = str(reading.cursor) if view.skip is None else "{}:{}".format(*view.skip)
    async with aclosing(stream(conversation, reading, view)) as items:
        async for item in items:
            if isinstance(item, Later):
                yield sent if pacer is not None else str(item.after)
            elif pacer is None or isinstance(item, Silence):
                yield item
            else:
                async with aclosing(_pieces(reading, view, pacer, item)) as pieces:
                    async for piece in pieces:
                        sent = piece.cursor.decode() if isinstance(piece, Piece) else str(piece[-1].last)
                        yield piece
                if reading.stopping and sent != str(reading.cursor):  # not all of it was given
                    yield sent
                    return


async def _pieces(
    reading: Reading, view: View, pacer: Pacer, runs: list[Run]
) -> AsyncGenerator[list[Run] | Piece, None]:
    for run in runs:
        if run.kind is EventKind.TEXT:
            pacer.add(run)
            continue
        async with aclosing(_drained(reading, view, pacer, is_last=True)) as pieces:
            async for piece in pieces:
                yield piece
        if reading.gone or reading.stopping:
            return
        if not view.text_only:
            yield [run]
    async with aclosing(_drained(reading, view, pacer, is_last=False)) as pieces:
        async for piece in pieces:
            yield piece


async def _drained(reading: Reading, view: View, pacer: Pacer, *, is_last: bool) -> AsyncGenerator[Piece, None]:
    """The pieces that are here; ends early if the reader left, the server stops or the session was terminated."""
    while (piece := pacer.next(is_last=is_last)) is not None:
        if reading.log.cut_at is not None:
            pacer.clear()  # what was not sent is dropped
            return
        yield piece
        if view.delay_seconds:
            await pause(reading, view.delay_seconds)
        if reading.gone or reading.stopping:
            return
