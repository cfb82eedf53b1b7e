"""TurnStream: one turn as server-sent events of a foreign dialect, for one reader.

The dialect (`Dialect`) encodes; here is what all of them need: the answer's head, pacing, heartbeats, the shutdown, and
the watch for the reader's leaving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

import orjson
from starlette.types import Receive, Scope, Send

from app.conversation.conversation import Conversation
from app.conversation.stream import Silence, leave
from app.conversation.view import View
from app.domain.event import EventKind
from app.doors.answers import GUARDED
from app.doors.dependencies import gone
from app.doors.direct_send import server_send
from app.doors.paced_stream import paced_stream
from app.doors.pacing import Piece
from app.events.follow import Reading
from app.events.run import Run
from app.llm.base import escape

_HEAD = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
    *GUARDED,
]


class Dialect(Protocol):
    """Turns the runs of one turn into bytes, for one reader."""

    is_over: bool
    """Whether the closing event of the dialect was given."""
    is_waiting: bool
    """Whether the last event said that the turn waits for somebody."""

    async def begin(self) -> bytes:
        """What goes out before the first event."""

    async def encode(self, runs: list[Run]) -> bytes:
        """What the dialect has for these events; `b""` for nothing."""

    async def pause(self) -> bytes:
        """The turn waits and nothing else is to be read: what ends this stream, or `b""` if nobody owes an answer."""

    def later(self) -> bytes:
        """The server stops; the turn is not over."""

    def end(self) -> bytes:
        """The stream is over, and no event closed the turn: what was kept of it has no end."""


class TurnStream:
    """An ASGI application. The caller has entered `reading`. `headers` are added to those of an event stream."""

    def __init__(
        self,
        conversation: Conversation,
        reading: Reading,
        view: View,
        dialect: Dialect,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._conversation = conversation
        self._reading = reading
        self._view = view
        self._dialect = dialect
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading, dialect = self._reading, self._dialect
        await send({"type": "http.response.start", "status": 200, "headers": self._head(scope)})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        send = server_send(scope, send)
        watcher = asyncio.ensure_future(self._watch(receive))
        try:
            await _write(send, await dialect.begin())
            async with aclosing(paced_stream(self._conversation, reading, self._view)) as events:
                async for got in events:
                    await self._tell(send, got)
                    if dialect.is_over or isinstance(got, str):
                        break
                else:
                    if not reading.gone:
                        await _write(send, dialect.end())
            if not reading.gone:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watcher.cancel()

    def _head(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        session_id = self._reading.log.session.session_id
        named = [(b"x-request-id", scope.get("request_id", "").encode()), (b"x-session-id", session_id.encode())]
        return [*_HEAD, *named, *self._headers]

    async def _watch(self, receive: Receive) -> None:
        await gone(receive)
        leave(self._reading)

    async def _tell(self, send: Send, got: list[Run] | Piece | Silence | str) -> None:
        dialect = self._dialect
        if isinstance(got, Silence):
            # One line end: the blank line behind it would end a block, and there is nothing in it.
            await _write(send, b": heartbeat %b\n" % orjson.dumps(got.phase))
            return
        if isinstance(got, str):
            await _write(send, dialect.later())
            return
        await _write(send, await dialect.encode([_run(got, self._view)] if isinstance(got, Piece) else got))
        if dialect.is_waiting and not dialect.is_over and not self._reading.has_news:
            await _write(send, await dialect.pause())


def _run(piece: Piece, view: View) -> Run:
    """A piece of text as the dialects take it."""
    return Run(piece.seq, piece.seq, EventKind.TEXT, chunks=[escape(piece.text)], turn_id=view.turn_id)


async def _write(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
