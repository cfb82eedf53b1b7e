"""Events become frames of a server-sent events stream: how a reader is paced, what its stream begins and ends with.

One framing code for every stream: ready bytes, one send for all that has arrived, one task beside it that watches for
the reader's leaving; heartbeats and shutdown come from one place for all readers (`conversation/readers.py`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from app.conversation.readers import Readers
from app.conversation.replay import Replay
from app.conversation.view import View
from app.domain.errors import Unavailable
from app.domain.event import EventKind, Reconnect
from app.doors.answers import GUARDED
from app.doors.dependencies import gone
from app.doors.direct_send import Begun, server_send
from app.doors.pacing import Pacer, pause
from app.events.follow import Reading
from app.events.run import Run
from app.routers.sse import DONE, NAMED_DONE, RETRY, encode, frame

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"connection", b"keep-alive"),
        (b"x-accel-buffering", b"no"),
        *GUARDED,
    ],
}


class EventStream:
    """One stream to one reader, whose `reading` the caller has entered.

    `phase` tells what the session is busy with, for the heartbeat.
    """

    def __init__(self, reading: Reading, view: View, readers: Readers, phase: Callable[[], dict[str, Any]]) -> None:
        self.reading = reading
        self.last_sent = time.monotonic()
        self._view = view
        self._readers = readers
        self._phase = phase
        self._pacer = None if view.is_plain else Pacer(view.chunk_size, whole=view.whole, skip=view.skip)
        self._is_over = False
        self._opening = RETRY
        """Lines that go out with the first event; empty from then on."""
        self._server_send: Send | None = None
        self._begun: Begun | None = None
        """A send that met a slow reader; this stream's task sees it through."""
        self._sent = b"%d:%d" % view.skip if view.skip is not None else b"%d" % reading.cursor
        """The cursor of what a paced reader was really sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = self.reading
        if scope["method"] == "HEAD":
            await send(self._start(scope))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._readers.add(self)
        watcher = asyncio.ensure_future(self._watch(receive))
        try:
            await send(self._start(scope))
            send = self._server_send = server_send(scope, send)
            if self._view.turn_id is None:
                # Where a reader that is cut before its first event comes back to. A comment: a block with an `id` and
                # no data is an empty event to httpx-sse and fetch-event-source.
                await self._send(send, b": cursor %b\n" % self._sent)
            await self._stream(send)
            if not reading.gone:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            reading.on_news = None
            self._readers.discard(self)
            watcher.cancel()

    def _start(self, scope: Scope) -> dict[str, Any]:
        extra = [(b"x-request-id", scope.get("request_id", "").encode())]
        if self._view.turn_id is not None:
            extra.append((b"x-session-id", self.reading.log.session.session_id.encode()))
        return {**_START, "headers": [*_START["headers"], *extra]}  # type: ignore[misc]

    async def _watch(self, receive: Receive) -> None:
        await gone(receive)
        self.reading.gone = True
        self.reading.notify()

    async def _stream(self, send: Send) -> None:
        reading = self.reading
        replay = Replay(reading)
        while True:
            runs = reading.take()
            if runs is None:
                try:
                    runs = await replay.next()
                except Unavailable:
                    await self._send_reconnect(send)
                    return
                if not runs:
                    continue
            if runs:
                if self._pacer is not None:
                    if not await self._send_paced(send, runs, self._pacer):
                        if not reading.gone:
                            await self._send_reconnect(send)
                        return
                elif body := self._render(runs):
                    await self._send_events(send, body)
            if self._is_over or reading.gone:
                return
            if runs:
                continue
            if self._view.is_exhausted(reading.log):
                if self._view.turn_id is not None:
                    await self._send_events(send, DONE)
                return
            if reading.stopping:
                await self._send_reconnect(send)
                return
            if reading.has_news:  # it came while something was being sent, and nobody was there to be woken
                continue
            await reading.wait()
            if self._begun is not None:
                begun, self._begun = self._begun, None
                await begun
            elif not reading.has_news and not reading.gone and not reading.stopping:
                # One line end: the blank line behind it would end a block, and there is nothing in it.
                await self._send(send, b": heartbeat %b\n" % orjson.dumps(self._phase()))

    def _send_now(self) -> bool:
        """Send new text in the tick it arrived in, while this stream's task sleeps; whether the task can sleep on.

        See doors/direct_send.py: if the server's `send` has to wait, the task is woken to see it through.
        """
        runs = self.reading.take_text(self._view.turn_id)
        if runs is None or self._server_send is None:
            return False
        body = encode(runs[0]) if len(runs) == 1 else b"".join([encode(run) for run in runs])
        self.last_sent = time.monotonic()
        begun = Begun(self._server_send({"type": "http.response.body", "body": body, "more_body": True}))
        if not begun.is_done:
            self._begun = begun
        return begun.is_done

    async def _send_events(self, send: Send, body: bytes) -> None:
        if self._opening:
            body, self._opening = self._opening + body, b""
            if self._pacer is None:
                self.reading.on_news = self._send_now
        await self._send(send, body)

    async def _send(self, send: Send, body: bytes) -> None:
        self.last_sent = time.monotonic()
        await send({"type": "http.response.body", "body": body, "more_body": True})

    # -- plain: the shared bytes ----------------------------------------------------------------

    def _render(self, runs: list[Run]) -> bytes:
        parts = []
        view = self._view
        for run in runs:
            if not view.shows(run):
                continue
            parts.append(encode(run))
            if run.kind is not EventKind.TEXT and view.ends_turn(run):
                parts.append(self._farewell(run))
                if self._is_over:
                    break
        return b"".join(parts)

    def _farewell(self, run: Run) -> bytes:
        """What follows an ending event; sets whether it ends this stream (`_is_over`)."""
        view = self._view
        self._is_over = view.ends_with(run, self.reading.log)
        if view.turn_id is not None:
            return DONE if self._is_over else b""
        return NAMED_DONE if run.kind is EventKind.TURN_FINISHED else b""

    # -- paced: pieces of the reader's own size -------------------------------------------------

    async def _send_paced(self, send: Send, runs: list[Run], pacer: Pacer) -> bool:
        """Whether all was sent that could be; else the reader left, or is to come back for the rest."""
        for run in runs:
            if not self._view.shows(run):
                continue
            if run.kind is EventKind.TEXT:
                pacer.add(run)
                continue
            if not await self._drain(send, pacer, is_last=True):
                return False
            body = b"" if self._view.text_only else encode(run)
            if self._view.ends_turn(run):
                body += self._farewell(run)
            if body:
                await self._send_events(send, body)
            self._sent = b"%d" % run.last
            if self._is_over:
                return True
        return await self._drain(send, pacer, is_last=False)

    async def _drain(self, send: Send, pacer: Pacer, *, is_last: bool) -> bool:
        """Send what the pacer gives; false if the reader left or the server stops before it was all sent."""
        reading, delay = self.reading, self._view.delay_seconds
        while (piece := pacer.next(is_last=is_last)) is not None:
            if reading.log.cut_at is not None:
                pacer.clear()  # terminated: what was not sent is dropped
                return True
            if reading.gone or reading.stopping:
                return False
            await self._send_events(send, piece.wire(with_id=not self._view.text_only))
            self._sent = piece.cursor
            if delay:
                await pause(reading, delay)
        return True

    async def _send_reconnect(self, send: Send) -> None:
        if self._view.text_only:
            return  # it has chunks and an end, and this is neither
        cursor = self._sent.decode() if self._pacer is not None else str(self.reading.cursor)
        after = int(cursor) if cursor.isdigit() else cursor
        # Spread over two seconds, so that a restarted server is not met by all its readers at once.
        block = b"retry: %d\n" % random.randint(1000, 3000)
        if self._opening:  # no event has told this reader a cursor
            block += b"id: %b\n" % cursor.encode()
        await self._send(send, block + frame(Reconnect(after)))
