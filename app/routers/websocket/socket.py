"""Socket: one WebSocket from its first frame to its close: the sessions it follows, and why it closes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive

from app.conversation.conversation import Conversation
from app.conversation.stream import leave
from app.conversation.view import View
from app.domain.errors import HectorError, QuotaExceeded
from app.domain.session import SessionStatus
from app.events.follow import Reading
from app.observability.tasks import Tasks
from app.routers.websocket.followed import Followed
from app.routers.websocket.line import Line
from app.routers.websocket.refusal import FAULT, NORMAL, RESTART, TERMINATED, TRY_LATER, close_code

log = logging.getLogger(__name__)

FAREWELL_SECONDS = 2.0
"""How long a slow client may take to be told where to go on."""


@dataclass(frozen=True, slots=True)
class Close:
    code: int
    reason: str


class Socket:
    """`bound`: the session of its address; the socket closes with it."""

    def __init__(
        self, line: Line, conversation: Conversation, *, bound: str | None, max_followed: int, request_id: str
    ) -> None:
        self.line = line
        self.request_id = request_id
        self._conversation = conversation
        self._bound = bound
        self._max_followed = max_followed
        self._followed: dict[str, Followed] = {}
        self._tasks = Tasks()
        self._closing: asyncio.Future[Close] = asyncio.get_running_loop().create_future()

    async def serve(self, receive: Receive, carry_out: Callable[[bytes], Awaitable[None]]) -> None:
        """Carry out what the client's frames say, one after another, until it leaves or the socket has to close."""
        listening = self._tasks.start(self._listen(receive, carry_out), name="frames of a socket")
        answering = self._tasks.start(self.line.send_answers(), name="answers of a socket")
        stopping = self._conversation.stop_signal
        try:
            waited: list[asyncio.Future[Any]] = [listening, self._closing, stopping]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                return
            listening.cancel()
            if not self._closing.done():
                self._closing.set_result(Close(RESTART, "shutting_down"))
            await self._say_farewell()
            await self.line.close(self._closing.result().code, self._closing.result().reason)
        except OSError:
            pass  # the client has left
        finally:
            answering.cancel()
            for followed in list(self._followed.values()):
                self._let_go(followed)
            await self._tasks.cancel()

    async def _listen(self, receive: Receive, carry_out: Callable[[bytes], Awaitable[None]]) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            await carry_out(text.encode("utf-8", "surrogatepass") if text is not None else message["bytes"])

    async def _say_farewell(self) -> None:
        """Tell the client where to go on in each session it follows, and what its frames have not been answered yet."""
        for followed in self._followed.values():
            followed.reading.stopping = True
            followed.reading.notify()
        waited = [followed.task for followed in self._followed.values() if followed.task is not None]
        answered = self._tasks.start(self.line.all_answered(), name="last answers of a socket")
        await asyncio.wait([*waited, answered], timeout=FAREWELL_SECONDS)

    # -- following ------------------------------------------------------------------------------

    def follows(self, session_id: str) -> bool:
        return session_id in self._followed

    def enter(self, reading: Reading, view: View) -> Followed:
        """Count as a reader of the session; `follow` then begins to send, or `unfollow` takes it back.

        Raises: QuotaExceeded.
        """
        session_id = reading.log.session.session_id
        if session_id not in self._followed and len(self._followed) >= self._max_followed:
            raise QuotaExceeded(
                f"This socket follows {self._max_followed} sessions (server.max_followed); detach from one."
            )
        self.unfollow(session_id)
        followed = Followed(self.line, self._conversation, reading, view)
        if self._followed:
            self.line.names_sessions = True
        self._followed[session_id] = followed
        return followed

    def follow(self, followed: Followed) -> None:
        followed.task = self._tasks.start(followed.run(), name=f"socket on {followed.session_id}")
        followed.task.add_done_callback(lambda task: self._over(followed, task))

    def unfollow(self, session_id: str) -> bool:
        """Stop following; whether the session was followed."""
        followed = self._followed.pop(session_id, None)
        if followed is None:
            return False
        self._let_go(followed)
        return True

    def _let_go(self, followed: Followed) -> None:
        self._followed.pop(followed.session_id, None)
        leave(followed.reading)
        followed.leave()
        if followed.task is not None:
            followed.task.cancel()

    def _over(self, followed: Followed, task: asyncio.Task[None]) -> None:
        """The task of a session is done: by itself, or because it was let go."""
        if self._followed.get(followed.session_id) is not followed:
            return
        del self._followed[followed.session_id]
        followed.leave()
        if not task.cancelled() and task.exception() is not None:
            self.close(FAULT, "internal")
        elif followed.is_told_to_reconnect:
            self.close(TRY_LATER, "storage_unavailable")
        elif not self._followed and followed.reading.log.over is SessionStatus.TERMINATED:
            self.close(TERMINATED, "session_terminated")
        elif followed.session_id == self._bound and followed.reading.log.is_over:
            self.close(NORMAL, "session_over")

    # -- closing --------------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        if not self._closing.done():
            is_stopping = self._conversation.stop_signal.done()
            self._closing.set_result(Close(RESTART, "shutting_down") if is_stopping else Close(code, reason))

    def close_for(self, error: HectorError) -> None:
        self.close(close_code(error), error.reason)
