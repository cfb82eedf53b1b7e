"""Line: what the client of one socket is sent, by several tasks; each write holds whole messages.

Answers to the client's own frames wait in a short queue, so that a client that reads slowly can still say something:
cancel, above all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Send

from app.doors.direct_send import Begun
from app.routers.websocket.frames import encode_object
from app.routers.websocket.protocol import FRAMES

MAX_ANSWERS = 16
"""Answers that wait for a client that does not read them; then its next frames wait."""
REASON_BYTES = 123
"""Longest reason of a close frame (RFC 6455, 5.5)."""


class Line:
    """`names_sessions`: every message says whose it is, because the client has followed more than one session."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._answers: asyncio.Queue[bytes] = asyncio.Queue(MAX_ANSWERS)
        self.names_sessions = False

    async def write(self, frames: bytes) -> None:
        """Send encoded messages; waits while the client reads too slowly. Raises OSError: it has left."""
        await self._send({"type": FRAMES, "frames": frames})

    def begin(self, frames: bytes) -> Begun:
        """The same, as far as it goes at once."""
        return Begun(self._send({"type": FRAMES, "frames": frames}))

    async def answer(self, shown: Mapping[str, object]) -> None:
        await self._answers.put(encode_object(shown))

    async def send_answers(self) -> None:
        """Until cancelled. What cannot be sent because the client has left is dropped."""
        while True:
            frames = await self._answers.get()
            try:
                await self.write(frames)
            except OSError:
                pass
            finally:
                self._answers.task_done()

    async def all_answered(self) -> None:
        await self._answers.join()

    async def close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason[:REASON_BYTES]})
