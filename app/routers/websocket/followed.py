"""Followed: one session that a socket follows, and how its events leave.

Text leaves in the tick it arrives in, as on a server-sent events stream (see doors/direct_send.py). A client that lags
gets merged messages; its other sessions, and other readers, do not wait for it.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

from app.conversation.conversation import Conversation
from app.conversation.view import View
from app.doors.direct_send import Begun
from app.doors.paced_stream import paced_stream
from app.doors.pacing import Piece
from app.events.follow import Reading
from app.routers.websocket.frames import encode, encode_object, encode_piece, session_field
from app.routers.websocket.line import Line


class Followed:
    """`reading` counts as a reader of the session from here on, until `leave`."""

    def __init__(self, line: Line, conversation: Conversation, reading: Reading, view: View) -> None:
        self.reading = reading
        self.session_id = reading.log.session.session_id
        self.task: asyncio.Task[None] | None = None
        self.is_told_to_reconnect = False
        self._line = line
        self._conversation = conversation
        self._view = view
        self._field = session_field(self.session_id)
        self._begun: Begun | None = None
        """A write that met a slow client; the task sees it through."""
        reading.__enter__()

    def leave(self) -> None:
        self.reading.__exit__(None, None, None)

    async def run(self) -> None:
        """Send what comes until the session is over, the client has left, or it was told to reconnect."""
        if self._view.is_plain:
            self.reading.on_news = self._send_now
        try:
            async with aclosing(paced_stream(self._conversation, self.reading, self._view)) as steps:
                async for step in steps:
                    if self._begun is not None:
                        begun, self._begun = self._begun, None
                        await begun
                    if isinstance(step, list):
                        session = self._session
                        await self._line.write(b"".join([encode(run, session) for run in step]))
                    elif isinstance(step, Piece):
                        await self._line.write(encode_piece(step, self._session))
                    elif isinstance(step, str):
                        await self._say_reconnect(step)
                        return
        except OSError:
            return  # the client has left
        finally:
            self.reading.on_news = None

    @property
    def _session(self) -> bytes:
        return self._field if self._line.names_sessions else b""

    def _send_now(self) -> bool:
        """Send new text while the task sleeps; whether it can sleep on."""
        runs = self.reading.take_text(None)
        if runs is None:
            return False
        session = self._session
        frames = encode(runs[0], session) if len(runs) == 1 else b"".join([encode(run, session) for run in runs])
        begun = self._line.begin(frames)
        if not begun.is_done:
            self._begun = begun
        return begun.is_done

    async def _say_reconnect(self, cursor: str) -> None:
        self.is_told_to_reconnect = True
        # Spread over two seconds, so that a restarted server is not met by all its clients at once.
        told = {
            "after": int(cursor) if cursor.isdigit() else cursor,
            "session_id": self.session_id,
            "retry": random.randint(1000, 3000),
        }
        await self._line.write(encode_object({"chunk": "", "type": "reconnect", **told}))
