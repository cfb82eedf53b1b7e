"""Events: what happens in a session, one frozen class per kind. `match` on the class, or read `type` and `fields`.

A kind that this version does not know is a plain `Event`, with its `type`, `chunk` and `fields` like every other.
`Offline`, `Online` and `Heartbeat` are made by the client and have no number.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from typing import Any

from hector_client._act_events import (
    ApprovalDecided,
    ApprovalRequest,
    Budget,
    MessageSteered,
    Resumed,
    ToolCall,
    ToolProgress,
    ToolResult,
    Waiting,
)
from hector_client._event import Event

__all__ = [
    "KINDS", "ApprovalDecided", "ApprovalRequest", "Budget", "Debug", "Error", "Event", "Heartbeat", "Memory",
    "MessageSteered", "Offline", "Online", "Resumed", "SessionEnded", "SessionTerminated", "Snapshot",
    "Summary", "Text", "Thinking", "ToolCall", "ToolProgress", "ToolResult", "TurnFinished", "TurnQueued",
    "TurnStarted", "Usage", "Waiting", "decode", "types_of",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Event):
    """A piece of the answer: `delta`, which is also its `chunk`."""

    type: str = "text"

    @property
    def delta(self) -> str:
        return self.chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking(Event):
    """A piece of what the model thinks aloud: `chunk`."""

    type: str = "thinking"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnQueued(Event):
    """A message was accepted and waits; `message_id` and `message` are the user's."""

    type: str = "turn_queued"
    turn_id: str = ""
    session_id: str = ""
    message_id: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted(Event):
    """A turn began; `message_id` and `message` are the user's."""

    type: str = "turn_started"
    turn_id: str = ""
    session_id: str = ""
    message_id: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished(Event):
    """The end of a turn, `completed`, `failed`, `cancelled` or `interrupted`; `message_id` is the answer's.

    `finish_reason` is the model's own word for the end of its answer: `stop`, `length`, `content_filter`, …
    """

    type: str = "turn_finished"
    status: str = ""
    turn_id: str = ""
    message_id: str | None = None
    reason: str | None = None
    finish_reason: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Event):
    """`text` is all of the message so far: it replaces what is shown of that message."""

    type: str = "snapshot"
    turn_id: str | None = None
    message_id: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Error(Event):
    """The turn failed; its `TurnFinished` follows."""

    type: str = "error"
    reason: str = ""
    message: str = ""

    @property
    def error(self) -> str:
        return self.message or self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory(Event):
    """What was recalled for the message, before the answer begins."""

    type: str = "memory"
    turn_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Event):
    """The request of this turn has a summary instead of older messages, or `left_out` of them are missing.

    `status`: `used` or `written` (the summary), `failed`, `left_out` or `no_room`; `message` says why it failed.
    """

    type: str = "summary"
    turn_id: str = ""
    status: str = ""
    left_out: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Event):
    """Tokens used so far."""

    type: str = "usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Debug(Event):
    """A line for developers: `chunk`."""

    type: str = "debug"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    """The session takes no more messages and stays readable."""

    type: str = "session_ended"
    session_id: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTerminated(Event):
    """The session was erased; its id is never used again."""

    type: str = "session_terminated"
    session_id: str = ""


# -- made by the client ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline(Event):
    """The connection is gone; the client tries again. `problem` says in a few words what happened."""

    type: str = "offline"
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Online(Event):
    """The connection is back."""

    type: str = "online"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Event):
    """The server is alive and has nothing to say; `phase` tells what it is busy with."""

    type: str = "heartbeat"
    phase: str = ""
    since_token_s: float | None = None


_FROM_THE_SERVER: tuple[type[Event], ...] = (
    Text, Thinking, TurnQueued, TurnStarted, TurnFinished, Snapshot, Error, Memory, Summary, ToolCall, ToolProgress,
    ToolResult, Waiting, Resumed, ApprovalRequest, ApprovalDecided, MessageSteered, Budget, Usage, Debug, SessionEnded,
    SessionTerminated, Heartbeat,
)  # fmt: skip
_COMMON = frozenset({one.name for one in fields_of(Event)})
KINDS: dict[str, type[Event]] = {kind().type: kind for kind in _FROM_THE_SERVER}
"""The class of each `type`."""
_OWN = {word: [one.name for one in fields_of(kind) if one.name not in _COMMON] for word, kind in KINDS.items()}


def types_of(wanted: Iterable[type[Event] | str]) -> frozenset[str]:
    """The words of events that are named by class or by `type`. Raises ValueError for a type that is not known."""
    known = KINDS.keys() | {Offline().type, Online().type}
    words = {one if isinstance(one, str) else one().type for one in wanted}
    for word in sorted(words - known):
        near = difflib.get_close_matches(word, known, 1)
        raise ValueError(f"There are no events of type {word!r}." + (f" Do you mean {near[0]!r}?" if near else ""))
    return frozenset(words)


def decode(word: str, fields: Mapping[str, Any], *, cursor: str | None = None) -> Event:
    """The event of a frame. Never fails: what is missing has its default, an unknown `type` is a plain `Event`."""
    chunk = fields.get("chunk")
    own = {name: fields[name] for name in _OWN.get(word, ()) if fields.get(name) is not None}
    kind = KINDS.get(word, Event)
    return kind(type=word, chunk=chunk if isinstance(chunk, str) else "", cursor=cursor, fields=fields, **own)
