"""Following a turn or a session over as many connections as it takes. Does no I/O: see `_steps`.

`follow` is the loop of connections: open, read, and after a break come back with the last cursor. What is opened and
what a frame means is up to its Reader: those of `_readers` follow one turn, or a session.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hector_client._sse import Frame, Parser
from hector_client._steps import Call, Emit, Open, Pause, Read, Reply, Request, Stream
from hector_client.errors import HectorError, Unreachable
from hector_client.events import Event, Offline, Online

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 3.0
BROKE = "the connection broke"
RESTARTING = "the server is restarting"


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
