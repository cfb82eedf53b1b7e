"""Event: something that happened in a session, with a number. The kinds are a closed list, their names the wire's.

Text and thinking travel as runs of deltas (`events/run.py`); every other kind has a dataclass here, with its JSON form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from app.domain.session import SessionStatus
from app.domain.turn import Failure, Timings, TurnState, Usage


class EventKind(StrEnum):
    TEXT = "text"
    THINKING = "thinking"
    TURN_QUEUED = "turn_queued"
    TURN_STARTED = "turn_started"
    TURN_FINISHED = "turn_finished"
    MEMORY = "memory"
    SUMMARY = "summary"
    DEBUG = "debug"
    SNAPSHOT = "snapshot"
    ERROR = "error"
    SESSION_ENDED = "session_ended"
    SESSION_TERMINATED = "session_terminated"
    RECONNECT = "reconnect"


@dataclass(frozen=True, slots=True)
class TurnQueued:
    """A message was accepted; its turn waits for earlier turns. `message_id` is the user's message."""

    kind: ClassVar = EventKind.TURN_QUEUED
    turn_id: str
    session_id: str
    message_id: str
    message: str

    def to_json(self) -> dict[str, object]:
        return _announcement(self)


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn was started. `message_id` is the user's message."""

    kind: ClassVar = EventKind.TURN_STARTED
    turn_id: str
    session_id: str
    message_id: str
    message: str

    def to_json(self) -> dict[str, object]:
        return _announcement(self)


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """A turn ended. `message_id` is the answer; `None` if the model said nothing. `finish_reason` is its own word."""

    kind: ClassVar = EventKind.TURN_FINISHED
    turn_id: str
    state: TurnState
    message_id: str | None = None
    reason: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    finish_reason: str | None = None

    def to_json(self) -> dict[str, object]:
        reason = {} if self.reason is None else {"reason": self.reason}
        return {
            "status": self.state.value,
            **reason,
            "turn_id": self.turn_id,
            "message_id": self.message_id,
            "finish_reason": self.finish_reason,
            "usage": self.usage.to_json() if self.usage is not None else None,
            "timings": self.timings.to_json() if self.timings is not None else None,
        }


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """A turn failed; its `TurnFinished` follows."""

    kind: ClassVar = EventKind.ERROR
    turn_id: str
    failure: Failure

    def to_json(self) -> dict[str, object]:
        return self.failure.to_json()


@dataclass(frozen=True, slots=True)
class MemoryRecalled:
    """A turn recalled memories; `recalled` is the wire object."""

    kind: ClassVar = EventKind.MEMORY
    turn_id: str
    recalled: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        return {"turn_id": self.turn_id, **self.recalled}


@dataclass(frozen=True, slots=True)
class HistorySummarized:
    """Older messages did not fit into the request and were summarized or left out; `summary` is the wire object."""

    kind: ClassVar = EventKind.SUMMARY
    turn_id: str
    summary: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        return {"turn_id": self.turn_id, **self.summary}


@dataclass(frozen=True, slots=True)
class DebugLine:
    """A line for developers, sent as `chunk`."""

    kind: ClassVar = EventKind.DEBUG
    turn_id: str
    line: str

    def to_json(self) -> dict[str, object]:
        return {}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole answer, for readers whose events were deleted: it replaces what they show of the answer."""

    kind: ClassVar = EventKind.SNAPSHOT
    turn_id: str | None
    message_id: str
    text: str

    def to_json(self) -> dict[str, object]:
        return {"turn_id": self.turn_id, "message_id": self.message_id, "text": self.text}


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session takes no more messages. `reason`: `expired`, `ephemeral`, or `None` when a client ended it."""

    kind: ClassVar = EventKind.SESSION_ENDED
    session_id: str
    reason: str | None = None
    turn_id: ClassVar = None

    @classmethod
    def by(cls, status: SessionStatus, session_id: str) -> SessionEnded:
        return cls(session_id, "expired" if status is SessionStatus.EXPIRED else None)

    def to_json(self) -> dict[str, object]:
        reason = {} if self.reason is None else {"reason": self.reason}
        return {"session_id": self.session_id, **reason}


@dataclass(frozen=True, slots=True)
class SessionTerminated:
    """The last event of a session that was terminated."""

    kind: ClassVar = EventKind.SESSION_TERMINATED
    session_id: str
    turn_id: ClassVar = None

    def to_json(self) -> dict[str, object]:
        return {"session_id": self.session_id}


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Tells one reader to reconnect with this cursor. It has no number."""

    kind: ClassVar = EventKind.RECONNECT
    after: int | str
    turn_id: ClassVar = None

    def to_json(self) -> dict[str, object]:
        return {"after": self.after}


Event = (
    TurnQueued
    | TurnStarted
    | TurnFinished
    | TurnFailed
    | MemoryRecalled
    | HistorySummarized
    | DebugLine
    | Snapshot
    | SessionEnded
    | SessionTerminated
    | Reconnect
)


def chunk_of(event: Event) -> str:
    """What a front end that only reads `chunk` shows for an event."""
    return event.line + "\n" if isinstance(event, DebugLine) else ""


def _announcement(event: TurnQueued | TurnStarted) -> dict[str, object]:
    return {
        "turn_id": event.turn_id,
        "session_id": event.session_id,
        "message_id": event.message_id,
        "message": event.message,  # last: rows leave it out and have it appended (storage/events.py)
    }
