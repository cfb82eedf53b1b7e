"""What is followed: `AnswerReader` one turn, `SessionReader` a session. They say what to open and what a frame means;
the connections are kept by `_following`. Do no I/O.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hector_client import _operations as operations
from hector_client._sse import Frame
from hector_client._steps import Emit, Request, Stream
from hector_client._turn_text import BETWEEN_MESSAGES, TurnText
from hector_client.events import Error, Event, Snapshot, Text, TurnFinished, TurnStarted, decode

_FINAL = frozenset({"completed", "failed", "cancelled", "interrupted"})


class AnswerReader:
    """One turn: the POST `first` starts it, and is repeated under its key until it is known to be accepted; from then
    on a GET continues after the last cursor. Without `first` it attaches to the open turn `turn_id`.
    """

    def __init__(
        self,
        agent: str,
        session_id: str | None,
        *,
        first: Request | None = None,
        turn_id: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.agent = agent
        self.session_id = session_id
        self.turn_id = turn_id
        self.said = TurnText()
        self.finished: TurnFinished | None = None
        self.error: Error | None = None
        self.first_text_seconds: float | None = None
        self.total_seconds: float | None = None
        self.mark = ""
        self._first = first
        self._is_one_shot = session_id is None
        self._clock = clock
        self._began = clock()
        self._cursor: str | None = None
        self._speaking: str | None = None
        """The turn that text belongs to."""

    @property
    def text(self) -> str:
        return self.said.whole

    @property
    def is_over(self) -> bool:
        return self.finished is not None

    @property
    def lost(self) -> str | None:
        if self._is_one_shot and self.turn_id is not None:
            return "The server went away in mid-answer; without a session it cannot be continued."
        return None

    def request(self) -> Request:
        if self.turn_id is None and self._first is not None:
            return self._first
        assert self.session_id is not None
        return _stream_of(self.agent, self.session_id, self._cursor, until="turn_end")

    def take(self, frame: Frame) -> Event | None:
        """`None` also for what belongs to another turn."""
        self._cursor = frame.id or self._cursor
        fields, turn_id = frame.fields, frame.fields.get("turn_id")
        match frame.type:
            case "cursor":
                return None
            case "done":
                self.mark = "done"
                return None
            case "reconnect":
                self.mark, self._cursor = "reconnect", str(fields.get("after", self._cursor))
                return None
            case "turn_queued" | "turn_started":
                if self.turn_id is None:  # the first one that a POST tells is its own
                    self.turn_id = str(turn_id)
                    self.session_id = str(fields.get("session_id", self.session_id))
                if frame.type == "turn_started":
                    self._speaking = str(turn_id)
            case word if word in BETWEEN_MESSAGES and self._speaking == self.turn_id:
                self.said.end_message()
                if word == "message_steered" and self.turn_id is None and self._is_first(fields):
                    self.turn_id = self._speaking = str(turn_id)  # the running turn, which our message has entered
        event = decode(frame.type, fields, cursor=frame.id)
        match event:
            case Snapshot() if turn_id == self.turn_id:
                self._speaking = self.turn_id
                self.said.replace(event.message_id, event.text)
            case TurnFinished():
                self._speaking = None
                if turn_id == self.turn_id:
                    self._finish(event)
        if frame.type in _OF_A_TURN:
            return event if turn_id == self.turn_id else None
        if frame.type != "heartbeat" and self._speaking != self.turn_id:
            return None
        if isinstance(event, Text):
            self.said.add(event.chunk)
            if self.first_text_seconds is None:
                self.first_text_seconds = self._clock() - self._began
        elif isinstance(event, Error):
            self.error = event
        return event

    def _is_first(self, fields: dict[str, Any]) -> bool:
        """Whether this is the message that was sent."""
        return self._first is not None and fields.get("message") == (self._first.body or {}).get("message")

    def settle(self, *, has_stream: bool) -> Stream[Event]:
        """The stream ended without the turn's end: it may be over, and in no stream any more."""
        if self.turn_id is None or self._is_one_shot:
            return
        assert self.session_id is not None
        turn = yield from operations.turn(self.agent, self.session_id, self.turn_id)
        if turn.get("status") not in _FINAL:
            return
        newest = yield from operations.messages(self.agent, self.session_id, limit=operations.PAGE, roles="assistant")
        ours = [one for one in newest if one["turn_id"] == self.turn_id and one["role"] == "assistant"]
        stored = [(one["message_id"], str(one["content"])) for one in ours]
        for message_id, text in self.said.missing(stored):
            self.said.replace(message_id, text)
            yield Emit(Snapshot(turn_id=self.turn_id, message_id=message_id, text=text))
        if isinstance(turn.get("error"), dict):
            self.error = _error(turn["error"])
        finished = decode("turn_finished", turn)
        assert isinstance(finished, TurnFinished)
        self._finish(finished)
        yield Emit(finished)

    def _finish(self, event: TurnFinished) -> None:
        self.finished = event
        self.total_seconds = self._clock() - self._began


class SessionReader:
    """A session, through any number of turns, until it is over. Several loops may use it one after the other."""

    def __init__(self, agent: str, session_id: str, cursor: str | None) -> None:
        self.cursor = cursor
        """What was handed on so far; `None`: begin with the open turn, or with what comes next."""
        self.said = TurnText()
        """The newest answer as far as it was handed on, snapshots applied."""
        self.mark = ""
        self.lost: str | None = None
        self._agent = agent
        self._session_id = session_id
        self._is_over = False

    @property
    def text(self) -> str:
        return self.said.whole

    @property
    def is_over(self) -> bool:
        return self._is_over

    def request(self) -> Request:
        return _stream_of(self._agent, self._session_id, self.cursor)

    def take(self, frame: Frame) -> Event | None:
        self.cursor = frame.id or self.cursor
        match frame.type:
            case "cursor" | "done":
                return None
            case "reconnect":
                self.mark, self.cursor = "reconnect", str(frame.fields.get("after", self.cursor))
                return None
            case "session_ended" | "session_terminated":
                self._is_over = True
        event = decode(frame.type, frame.fields, cursor=frame.id)
        match event:
            case TurnStarted():
                self.said = TurnText()
            case Snapshot():
                self.said.replace(event.message_id, event.text)
            case Text():
                self.said.add(event.chunk)
            case _ if frame.type in BETWEEN_MESSAGES:
                self.said.end_message()
        return event

    def settle(self, *, has_stream: bool) -> Stream[Event]:
        if not has_stream:  # 204: the session is over, and all of it was told
            self._is_over = True
        yield from ()


def _stream_of(agent: str, session_id: str, cursor: str | None, *, until: str | None = None) -> Request:
    return Request(
        "GET",
        operations.session_path(agent, session_id, "messages", "stream"),
        query=operations.given({"until": until}),
        headers=operations.given({"Last-Event-ID": cursor}),
    )


def _error(fields: dict[str, Any]) -> Error:
    error = decode("error", fields)
    assert isinstance(error, Error)
    return error


_OF_A_TURN = frozenset({"turn_queued", "turn_started", "snapshot", "turn_finished"})
"""Frames that name their turn; what stands between belongs to the one that was started last."""
