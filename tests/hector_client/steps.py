"""Carries out the steps of the client's logic from a script: no socket, no clock, no waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hector_client._steps import Call, Emit, Open, Pause, Read, Reply, Request, Stream
from hector_client.errors import HectorError, Unreachable, refusal
from hector_client.events import Event

LOST = Unreachable("No answer from the script: the connection broke.", problem="the connection broke")
NO_CONTENT = "204"

Opened = list[bytes | HectorError] | HectorError | str
"""What one Open gives: pieces of a stream, the last of which may be a break; a failure; or NO_CONTENT."""


def frame(kind: str, seq: int | str | None = None, **fields: Any) -> bytes:
    """A block of a stream: `text`, `done`, or any other type; or `cursor`, the comment it begins with."""
    number = f"id: {seq}\n".encode() if seq is not None else b""
    if kind == "cursor":
        return b": cursor %b\n" % str(seq).encode()
    if kind == "done":
        return b"event: done\ndata: [DONE]\n\n"
    shown = {"chunk": "", **({} if kind == "text" else {"type": kind}), **fields}
    return number + b"data: " + json.dumps(shown).encode() + b"\n\n"


def text(chunk: str, seq: int | str) -> bytes:
    return frame("text", seq, chunk=chunk)


def refused(status: int, reason: str) -> HectorError:
    return refusal(status, {"error": {"reason": reason, "message": reason}})


@dataclass
class Script:
    """`streams`: what each Open gives, then LOST. `replies`: the answers of requests by the last word of their path."""

    streams: list[Opened] = field(default_factory=list)
    replies: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    pauses: list[float] = field(default_factory=list)
    now: float = 0.0

    def clock(self) -> float:
        return self.now

    def run(self, steps: Stream[Event], *, until: Callable[[Event], bool] = lambda event: False) -> list[Event]:
        """The events, up to the first for which `until` is true."""
        events: list[Event] = []
        pieces: list[bytes | HectorError] = []
        answer: Any = None
        failure: HectorError | None = None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration:
                return events
            answer = failure = None
            try:
                match step:
                    case Emit():
                        events.append(step.value)
                        if until(step.value):
                            steps.close()
                            return events
                    case Open():
                        opened = self._open(step.request)
                        answer, pieces = opened is not None, opened or []
                    case Read():
                        answer = self._read(pieces)
                    case _:
                        answer = self._do(step)
            except HectorError as error:
                failure = error

    def call(self, steps: Call[Any]) -> Any:
        """What a call ends with."""
        answer: Any = None
        failure: HectorError | None = None
        while True:
            try:
                step = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as ended:
                return ended.value
            answer = failure = None
            try:
                answer = self._do(step)
            except HectorError as error:
                failure = error

    def _open(self, request: Request) -> list[bytes | HectorError] | None:
        message = (request.body or {}).get("message")
        self.asked.append(f"POST {message}" if request.method == "POST" else f"GET {self._cursor(request)}")
        self.keys |= {request.headers["Idempotency-Key"]} if request.method == "POST" else set()
        opened = self.streams.pop(0) if self.streams else LOST
        if isinstance(opened, HectorError):
            raise opened
        return None if isinstance(opened, str) else list(opened)

    def _cursor(self, request: Request) -> str | None:
        return request.headers.get("Last-Event-ID")

    def _read(self, pieces: list[bytes | HectorError]) -> bytes | None:
        piece = pieces.pop(0) if pieces else None
        if isinstance(piece, HectorError):
            raise piece
        return piece

    def _do(self, step: Request | Pause) -> Reply | None:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.now += step.seconds
            return None
        word = step.path.rpartition("/")[2]
        self.asked.append(word)
        if (key := step.headers.get("Idempotency-Key")) is not None:
            self.keys.add(key)
        found = self.replies.get(word, LOST)
        if isinstance(found, list):
            found = found.pop(0)
        if isinstance(found, HectorError):
            raise found
        return Reply(200, found)
