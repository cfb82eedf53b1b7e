"""Events: what happens in a session, one frozen class per kind. `match` on the class, or read `type` and `fields`.

A kind that this version does not know is a plain `Event`, with its `type`, `chunk` and `fields` like every other.
`Offline`, `Online` and `Heartbeat` are made by the client and have no number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`chunk` is what to show, often empty. `cursor` is where to come back to: `41`, or `41:12` inside event 41."""

    type: str = ""
    chunk: str = ""
    cursor: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The whole object as it came."""

    @property
    def seq(self) -> int | None:
        """The event's number in its session; `None` where it has none."""
        number = (self.cursor or "").partition(":")[0]
        return int(number) if number.isdigit() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Event):
    """A piece of the answer: `chunk`."""

    type: str = "text"


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
class ToolCall(Event):
    """The model calls a tool; `tool` has `call_id`, `name`, `arguments`, `class`, `step`.

    Of an agent that the session's own agent has called, here as in the events below: its name and `depth` (in `tool`).
    """

    type: str = "tool_call"
    turn_id: str = ""
    tool: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress(Event):
    """A running tool reports progress: text as it stands in a terminal, or a percentage."""

    type: str = "tool_progress"
    turn_id: str = ""
    call_id: str = ""
    text: str | None = None
    percent: float | None = None
    agent: str | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult(Event):
    """The outcome of a tool call. `status`: `settled`, `failed`, `refused`, `cancelled` or `unknown`.

    Of a large result `preview` is the start, `bytes` the size; `session.result(result_id)` reads the whole in pieces.
    """

    type: str = "tool_result"
    turn_id: str = ""
    call_id: str = ""
    name: str = ""
    status: str = ""
    result: Any = None
    preview: Any = None
    result_id: str | None = None
    bytes: int | None = None
    ms: float | None = None
    sandbox: str | None = None
    agent: str | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Event):
    """The turn waits for `waiting_for`: `approval`, `result`, `input` or `connect`.

    For `input`: the `question` of a tool, with `choices` or the JSON `schema` of the answer, where it has them.
    """

    type: str = "waiting"
    turn_id: str = ""
    waiting_for: str = ""
    call_id: str | None = None
    expires_at: str | None = None
    question: str | None = None
    choices: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """A turn that waited goes on."""

    type: str = "resumed"
    turn_id: str = ""
    call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest(Event):
    """A tool call needs a decision: `session.calls.approve` or `refuse`. `why` is a sentence."""

    type: str = "approval_request"
    turn_id: str = ""
    call_id: str = ""
    name: str = ""
    arguments: Any = None
    why: str = ""
    rule: str | None = None
    expires_at: str | None = None
    agent: str | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided(Event):
    """A tool call was approved or refused, `by` whom; `edited`: with other arguments than the model's."""

    type: str = "approval_decided"
    turn_id: str = ""
    call_id: str = ""
    approved: bool = False
    by: str = ""
    edited: bool = False
    reason: str | None = None
    remember: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSteered(Event):
    """A user's message entered the running turn before its step `step`."""

    type: str = "message_steered"
    turn_id: str = ""
    message_id: str = ""
    message: str = ""
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Event):
    """A limit of the turn or session is near, or reached; `action` follows: `warn`, `land`, `ask` or `stop`."""

    type: str = "budget"
    turn_id: str = ""
    kind: str = ""
    used: float = 0
    limit: float = 0
    action: str = ""


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


def decode(word: str, fields: Mapping[str, Any], *, cursor: str | None = None) -> Event:
    """The event of a frame. Never fails: what is missing has its default, an unknown `type` is a plain `Event`."""
    chunk = fields.get("chunk")
    own = {name: fields[name] for name in _OWN.get(word, ()) if fields.get(name) is not None}
    kind = KINDS.get(word, Event)
    return kind(type=word, chunk=chunk if isinstance(chunk, str) else "", cursor=cursor, fields=fields, **own)
