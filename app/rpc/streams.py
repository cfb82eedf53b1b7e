"""A stream of one reader over gRPC: its chunks, one write after the other, and the status that it ends with."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import orjson
from grpc.aio import ServicerContext

from app.conversation.conversation import Conversation
from app.conversation.stream import Silence
from app.conversation.view import View
from app.domain.errors import Unavailable, session_over
from app.domain.event import EventKind
from app.domain.turn import Failure, Outcome, TurnState
from app.doors.paced_stream import paced_stream
from app.doors.pacing import Piece
from app.events.follow import Reading
from app.events.run import Run
from app.rpc.chunks import chunks_of, piece_chunk, reconnect_chunk


async def send_stream(
    context: ServicerContext[Any, Any], conversation: Conversation, reading: Reading, view: View
) -> None:
    """Write what `view` shows. A write waits while the reader is slow; what comes meanwhile is one chunk then.

    gRPC cancels this when the reader leaves; the caller has entered `reading`, and leaves it then.

    Raises:
        HectorError: how the turn, or the session, ended; or Unavailable (`shutting_down`) after a `reconnect`.
    """
    ending = Ending(view.turn_id, reading.log.session.session_id)
    async with aclosing(paced_stream(conversation, reading, view)) as items:
        async for item in items:
            if isinstance(item, list):
                ending.see(item)
                for chunk in chunks_of(item):
                    await context.write(chunk)
            elif isinstance(item, Piece):
                await context.write(piece_chunk(item.text, item.cursor.decode()))
            elif not isinstance(item, Silence):  # the cursor to come back with
                await context.write(reconnect_chunk(item))
                raise Unavailable(
                    f"The server stops, or cannot read its data: go on with FollowSession after {item}.",
                    reason="shutting_down",
                )
    ending.raise_for_status()


class Ending:
    """What the status of a stream is made of: the end of its turn (if it follows one), or the session's."""

    def __init__(self, turn_id: str | None, session_id: str) -> None:
        self._turn_id = turn_id
        self._session_id = session_id
        self._failure: Failure | None = None
        self._outcome: Outcome | None = None
        self._is_terminated = False

    def see(self, runs: list[Run]) -> None:
        for run in runs:
            if run.kind is EventKind.TEXT:
                continue
            if run.kind is EventKind.SESSION_TERMINATED:
                self._is_terminated = True
            elif self._turn_id is not None and run.turn_id == self._turn_id:
                self._see_turn(run)

    def _see_turn(self, run: Run) -> None:
        if run.kind is EventKind.ERROR:
            said = orjson.loads(run.payload)
            self._failure = Failure(said["reason"], said["message"], said.get("detail"), said.get("provider_status"))
        elif run.kind is EventKind.TURN_FINISHED:
            said = orjson.loads(run.payload)
            self._outcome = Outcome(
                run.turn_id or "",
                TurnState(said["status"]),
                said.get("reason"),
                message_id=said.get("message_id"),
                failure=self._failure,
            )

    def raise_for_status(self) -> None:
        """Raise the error for any end but completion, as a caller that waited would get it."""
        if self._is_terminated:
            raise session_over("terminated", self._session_id)
        if self._outcome is not None:
            self._outcome.raise_for_end(self._session_id)
