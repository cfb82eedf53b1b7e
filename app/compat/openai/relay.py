"""One turn to one reader: the events of a session through a writer of this dialect, as a stream or collected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import orjson
from starlette.types import Receive, Scope, Send

from app.conversation.conversation import Conversation, Following
from app.conversation.stream import Later, Silence, leave, stream
from app.conversation.view import View
from app.domain.turn import Turn
from app.doors.answers import GUARDED
from app.doors.dependencies import gone
from app.doors.direct_send import server_send
from app.events.follow import Reading
from app.events.run import Run
from app.turns.open_turn import OpenTurn

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
    *GUARDED,
]
DONE = b"data: [DONE]\n\n"


class Writer(Protocol):
    """Writes what one reader is sent of one turn."""

    @property
    def is_over(self) -> bool:
        """Whether its stream ends here, although the turn may go on."""
        ...

    def opening(self) -> bytes: ...

    def text(self, run: Run) -> bytes:
        """Text or thinking, from the hot path: joins ready bytes."""
        ...

    async def fact(self, run: Run) -> bytes: ...

    def later(self) -> bytes:
        """The server stops, and the turn is not over."""
        ...

    async def closing(self) -> bytes:
        """The stream ends by itself: what is left to say where the events of the end are not kept."""
        ...


class TurnStream:
    """ASGI application: begins the turn of `following` and streams it. An error before the first byte is raised."""

    def __init__(
        self,
        following: Following,
        writer: Callable[[OpenTurn | Turn], Writer],
        *,
        begun: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`begun`: what is left to do once the reader counts as one."""
        self._following = following
        self._writer = writer
        self._begun = begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        following = self._following
        with following:
            turn = await following.start()
            if self._begun is not None:
                await self._begun()
            app = ReadingStream(following.conversation, following.reading, following.view(turn), self._writer(turn))
            await app(scope, receive, send)


class ReadingStream:
    """ASGI application: streams a reading that was entered."""

    def __init__(self, conversation: Conversation, reading: Reading, view: View, writer: Writer) -> None:
        self._conversation = conversation
        self._reading = reading
        self._view = view
        self._writer = writer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading, writer = self._reading, self._writer
        await send({"type": "http.response.start", "status": 200, "headers": self._headers(scope)})
        send = server_send(scope, send)
        watcher = asyncio.ensure_future(watch(receive, reading))
        try:
            if body := writer.opening():
                await send({"type": "http.response.body", "body": body, "more_body": True})
            async for body in written(self._conversation, reading, self._view, writer):
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            if writer.is_over or not reading.gone:
                body = b"" if writer.is_over or reading.stopping else await writer.closing()
                await send({"type": "http.response.body", "body": body, "more_body": False})
        finally:
            watcher.cancel()

    def _headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        session_id = self._reading.log.session.session_id.encode()
        return [
            *_HEADERS,
            (b"x-request-id", scope.get("request_id", "").encode()),
            (b"x-session-id", session_id),
            (b"x-hector-session", session_id),
        ]


async def written(conversation: Conversation, reading: Reading, view: View, writer: Writer) -> AsyncIterator[bytes]:
    """What the writer makes of the events of an entered reading, until its stream is over."""
    async for news in stream(conversation, reading, view):
        match news:
            case Silence():
                yield b": heartbeat %b\n" % orjson.dumps(news.phase)
            case Later():
                yield writer.later()
            case _:
                yield b"".join([writer.text(run) if run.count else await writer.fact(run) for run in news])
        if writer.is_over:
            leave(reading)


async def watch(receive: Receive, reading: Reading) -> None:
    await gone(receive)
    leave(reading)
