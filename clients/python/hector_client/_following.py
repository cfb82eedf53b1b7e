"""Following a turn or a session over as many connections as it takes. Does no I/O: see `_steps`.

`follow` is the loop of connections: open, read, and after a break come back with the last cursor. What is opened and
what a frame means is up to its Reader: `AnswerReader` follows one turn, `SessionReader` a session.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hector_client import _operations as operations
from hector_client._sse import Frame, Parser
from hector_client._steps import Call, Emit, Open, Pause, Read, Reply, Request, Stream
from hector_client._turn_text import BETWEEN_MESSAGES, TurnText
from hector_client.errors import HectorError, Unreachable
from hector_client.events import Error, Event, Offline, Online, Snapshot, Text, TurnFinished, TurnStarted, decode

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 3.0
BROKE = "the connection broke"
RESTARTING = "the server is restarting"
_FINAL = frozenset({"completed", "failed", "cancelled", "interrupted"})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try again without hearing anything, and where the answers come from, for the error then raised."""

    seconds: float
    place: str
    clock: Callable[[], float] = time.monotonic

    def check(self, since: float, problem: str) -> None:
        if self.clock() - since > self.seconds:
            raise Unreachable(f"No answer from {self.place}: {problem}.", problem=problem)


class Reader(Protocol):
    """`mark` is the word that the last stream ended with: `done`, `reconnect`, or nothing."""

    mark: str

    @property
    def is_over(self) -> bool: ...

    @property
    def lost(self) -> str | None:
        """Why a connection that broke cannot be continued; `None` when it can."""
        ...

    def request(self) -> Request:
        """What to open next."""
        ...

    def take(self, frame: Frame) -> Event | None:
        """The event to hand on, if the frame is one."""
        ...

    def settle(self, *, has_stream: bool) -> Stream[Event]:
        """After a stream, or a 204, ended without an error or `reconnect`."""
        ...


def follow(reader: Reader, patience: Patience, types: frozenset[str] | None = None) -> Stream[Event]:
    """Emits the events, and of our own `Offline` and `Online`, until the reader is over; with `types` only those.

    Raises:
        Refused: the server refuses for a reason that will not pass.
        Unreachable: nothing was heard for longer than the patience, or what broke cannot be continued.
    """
    clock = patience.clock
    heard, pause, is_offline = clock(), FIRST_PAUSE_SECONDS, False
    while True:
        problem, reader.mark = BROKE, ""
        parser = Parser()
        try:
            has_stream: bool = yield Open(reader.request())
            received: bytes | None
            while has_stream and (received := (yield Read())) is not None:
                for frame in parser.feed(received):
                    heard, pause = clock(), FIRST_PAUSE_SECONDS
                    if is_offline:
                        is_offline = False
                        if types is None or "online" in types:
                            yield Emit(Online())
                    event = reader.take(frame)
                    if event is not None and (types is None or event.type in types):
                        yield Emit(event)
                    if reader.is_over:
                        return
            if reader.mark == "reconnect":
                problem, pause = RESTARTING, parser.retry_seconds or pause
            else:
                yield from reader.settle(has_stream=has_stream)
                if reader.is_over:
                    return
                if reader.mark == "done" and reader.lost is None:  # the end of another turn; ours is still to come
                    continue
        except HectorError as error:
            if not error.is_transient:
                raise
            problem = error.problem if isinstance(error, Unreachable) else error.message.rstrip(".")
        if reader.lost is not None:
            raise Unreachable(reader.lost, problem=problem)
        patience.check(heard, problem)
        is_offline = True
        if types is None or "offline" in types:
            yield Emit(Offline(problem=problem))
        yield Pause(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def repeat(request: Request, patience: Patience) -> Call[Reply]:
    """Send a request that may be sent again (it has an Idempotency-Key) until it is answered."""
    since, pause = patience.clock(), FIRST_PAUSE_SECONDS
    while True:
        try:
            reply: Reply = yield request
            return reply
        except HectorError as error:
            if not error.is_transient:
                raise
            patience.check(since, error.problem if isinstance(error, Unreachable) else error.message.rstrip("."))
        yield Pause(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


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
