"""Answer: what one message is answered, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from app.cli.client import Client, Lost
from app.cli.failures import Refused, Unreachable
from app.cli.sse import Frame, Parser

PATIENCE_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 3.0
_FINAL = {"completed", "failed", "cancelled", "interrupted"}


class Answer:
    """Sends `message` once, follows its turn to its end, and comes back after every break.

    The POST carries an Idempotency-Key, so that it can be repeated until it is known to be accepted; from
    then on a GET goes on after the last number. Without a `message` it attaches to the open turn `turn_id`.
    """

    def __init__(
        self,
        client: Client,
        agent: str,
        session_id: str | None,
        *,
        message: str | None = None,
        turn_id: str | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.key = secrets.token_hex(16)
        self.turn_id = turn_id
        self.session_id = session_id
        self.text = ""
        """The answer so far, snapshots applied; tools and thinking are not in it."""
        self.finished: dict[str, Any] | None = None
        """The turn's `turn_finished`, once it is over."""
        self.error: dict[str, Any] | None = None
        self.began_clock = time.monotonic()
        self.first_clock: float | None = None
        """When the first text came."""
        self._client = client
        self._agent = agent
        self._message = message
        self._is_one_shot = session_id is None
        self._patience = patience
        self._cursor: str | None = None
        self._speaking: str | None = None
        self._ended = ""
        """The word that the last stream ended with: `done`, `reconnect`, or nothing."""

    async def frames(self) -> AsyncGenerator[Frame]:
        """This turn's frames, and of our own: `offline` (with `problem`), `online`, `heartbeat`.

        Raises:
            Refused: the server does not take the message, or the session is gone.
            Unreachable: it stayed away longer than our patience, or a one-shot broke.
        """
        heard = time.monotonic()
        pause, is_offline = FIRST_PAUSE, False
        while True:
            problem, self._ended = "the connection broke", ""
            try:
                async with self._open() as (parser, frames):
                    async for frame in frames:
                        heard, pause = time.monotonic(), FIRST_PAUSE
                        if is_offline:
                            is_offline = False
                            yield Frame("online")
                        if self._take(frame):
                            yield frame
                        if self.finished is not None:
                            return
                    wish = parser.retry_seconds
                if self._ended == "reconnect":
                    problem, pause = "the server is restarting", wish or pause
                elif self._was_accepted:
                    async for frame in self._look_up():
                        yield frame
                    if self.finished is not None:
                        return
                    if self._ended == "done":  # another turn's end; ours is still to come
                        continue
            except Lost as error:
                problem = str(error)
            except Refused as error:
                if not error.may_pass:
                    raise
                problem = error.message.rstrip(".")
            except Unreachable as error:
                problem = error.message.rstrip(".")
            if self._is_one_shot and self._was_accepted:
                raise Unreachable("The server went away in mid-answer; without a session it cannot be continued.")
            if time.monotonic() - heard > self._patience:
                raise Unreachable(f"No answer from {self._client.place}: {problem}.")
            is_offline = True
            yield Frame("offline", fields={"problem": problem})
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    @property
    def _was_accepted(self) -> bool:
        return self.turn_id is not None

    def _open(self) -> AbstractAsyncContextManager[tuple[Parser, AsyncIterator[Frame]]]:
        if not self._was_accepted and self._message is not None:
            return self._client.post_stream(self._agent, self.session_id, self._message, key=self.key)
        assert self.session_id is not None
        return self._client.get_stream(self._agent, self.session_id, cursor=self._cursor)

    def _take(self, frame: Frame) -> bool:
        """Whether the frame belongs to our turn and has something to tell."""
        if frame.id is not None:
            self._cursor = frame.id
        kind, fields = frame.type, frame.fields
        if kind == "cursor":
            return False
        if kind == "heartbeat":
            return True
        if kind in ("done", "reconnect"):
            self._ended = kind
            self._cursor = str(fields.get("after", self._cursor)) if kind == "reconnect" else self._cursor
            return False
        turn_id = fields.get("turn_id")
        if kind in ("turn_queued", "turn_started"):
            if self.turn_id is None:  # the first one that a POST tells is its own
                self.turn_id = str(turn_id)
                self.session_id = str(fields.get("session_id", self.session_id))
            if kind == "turn_started":
                self._speaking = str(turn_id)
            return turn_id == self.turn_id
        if kind == "snapshot":
            if turn_id == self.turn_id:
                self._speaking, self.text = self.turn_id, str(fields.get("text", ""))
            return bool(turn_id == self.turn_id)
        if kind == "turn_finished":
            self._speaking = None
            if turn_id == self.turn_id:
                self.finished = fields
            return bool(turn_id == self.turn_id)
        if self._speaking != self.turn_id:
            return False
        if kind == "text":
            self.text += frame.chunk
            self.first_clock = self.first_clock or time.monotonic()
        elif kind == "error":
            self.error = fields
        return True

    async def _look_up(self) -> AsyncIterator[Frame]:
        """The stream ended without the turn's end: it may be over, and told to nobody any more."""
        assert self.session_id is not None
        assert self.turn_id is not None
        if self._is_one_shot:
            return
        turn = await self._client.turn(self._agent, self.session_id, self.turn_id)
        if turn.get("status") not in _FINAL:
            return
        newest = await self._client.messages(self._agent, self.session_id, limit=200)
        text = next((found["content"] for found in newest if found["message_id"] == turn.get("message_id")), None)
        if text is not None and text != self.text:
            self.text = text
            yield Frame("snapshot", fields={"turn_id": self.turn_id, "text": text})
        self.error = turn.get("error") or self.error
        self.finished = turn
        yield Frame("turn_finished", fields=turn)

    @property
    def is_completed(self) -> bool:
        return self.finished is not None and self.finished.get("status") == "completed"

    def failure(self) -> str | None:
        """A sentence about an end other than completion."""
        assert self.finished is not None
        status, reason = self.finished.get("status"), self.finished.get("reason")
        if status == "failed":
            return str((self.error or {}).get("message") or f"The turn failed ({reason}).")
        if status == "cancelled":
            return _CANCELLED.get(str(reason), f"The answer was stopped ({reason}).")
        if status == "interrupted":
            return "The server was stopped in mid-answer; what is shown was kept."
        return None


_CANCELLED = {
    "cancelled": "The answer was stopped.",
    "replaced": "The answer was stopped: another message replaced this one.",
    "disconnected": "The answer was stopped, for nobody was reading it.",
    "session_terminated": "The session was terminated; it is gone for good.",
}
