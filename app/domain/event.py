"""Event: something that happened in a session, with a number. The kinds are a closed list, their names the wire's.

Text and thinking travel as runs of deltas (`events/run.py`); every other kind has a dataclass here, with its JSON form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from app.domain.clock import iso
from app.domain.session import SessionStatus
from app.domain.turn import Failure, Timings, TurnState, Usage


class EventKind(StrEnum):
    TEXT = "text"
    THINKING = "thinking"
    TURN_QUEUED = "turn_queued"
    TURN_STARTED = "turn_started"
    TURN_FINISHED = "turn_finished"
    TOOL_CALL = "tool_call"
    TOOL_PROGRESS = "tool_progress"
    TOOL_RESULT = "tool_result"
    WAITING = "waiting"
    RESUMED = "resumed"
    APPROVAL_REQUEST = "approval_request"
    APPROVAL_DECIDED = "approval_decided"
    MESSAGE_STEERED = "message_steered"
    BUDGET = "budget"
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
class ToolCalled:
    """The model asked for a call; its act is stored. `chunk`: what a terminal shows."""

    kind: ClassVar = EventKind.TOOL_CALL
    turn_id: str
    call_id: str
    name: str
    arguments: object
    tool_class: str
    step: int
    chunk: str = ""
    agent: str | None = None
    """The agent that calls it, and how deep it is nested, where it is not the session's own."""
    depth: int = 0

    def to_json(self) -> dict[str, object]:
        tool: dict[str, object] = {
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
            "class": self.tool_class,
            "step": self.step,
        }
        return {"turn_id": self.turn_id, "tool": tool | _nested(self.agent, self.depth)}


@dataclass(frozen=True, slots=True)
class ToolProgressed:
    """A call says how far it is; a crash loses it, like text."""

    kind: ClassVar = EventKind.TOOL_PROGRESS
    turn_id: str
    call_id: str
    text: str = ""
    percent: float | None = None
    chunk: str = ""
    agent: str | None = None
    depth: int = 0

    def to_json(self) -> dict[str, object]:
        text = {"text": self.text} if self.text else {}
        percent = {} if self.percent is None else {"percent": self.percent}
        return {"turn_id": self.turn_id, "call_id": self.call_id, **text, **percent, **_nested(self.agent, self.depth)}


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A call is over. `result` is a JSON value; of a large one the start, with the id and size of the whole."""

    kind: ClassVar = EventKind.TOOL_RESULT
    turn_id: str
    call_id: str
    name: str
    status: str
    result: object = None
    result_id: str | None = None
    size: int | None = None
    ms: int | None = None
    sandbox: str | None = None
    chunk: str = ""
    agent: str | None = None
    depth: int = 0

    def to_json(self) -> dict[str, object]:
        whole: dict[str, object] = {"result": self.result}
        if self.result_id is not None:
            whole = {"preview": self.result, "result_id": self.result_id, "bytes": self.size}
        sandbox = {} if self.sandbox is None else {"sandbox": self.sandbox}
        return {
            "turn_id": self.turn_id,
            "call_id": self.call_id,
            "name": self.name,
            "status": self.status,
            **whole,
            "ms": self.ms,
            **sandbox,
            **_nested(self.agent, self.depth),
        }


@dataclass(frozen=True, slots=True)
class TurnWaiting:
    """The turn waits for somebody: `approval`, `result` or `input`. `asked`: the question, where there is one."""

    kind: ClassVar = EventKind.WAITING
    turn_id: str
    waiting_for: str
    call_id: str | None = None
    expires_ms: int | None = None
    asked: Mapping[str, object] | None = None

    def to_json(self) -> dict[str, object]:
        call = {} if self.call_id is None else {"call_id": self.call_id}
        expires = {} if self.expires_ms is None else {"expires_at": iso(self.expires_ms)}
        return {"turn_id": self.turn_id, "waiting_for": self.waiting_for, **call, **expires, **(self.asked or {})}


@dataclass(frozen=True, slots=True)
class TurnResumed:
    """The turn goes on after it waited, or after a restart. `call_id`: the act that was decided last."""

    kind: ClassVar = EventKind.RESUMED
    turn_id: str
    call_id: str | None = None

    def to_json(self) -> dict[str, object]:
        return {"turn_id": self.turn_id, **({} if self.call_id is None else {"call_id": self.call_id})}


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """A call needs a yes. `why` is a sentence, `rule` the line that asks for it."""

    kind: ClassVar = EventKind.APPROVAL_REQUEST
    turn_id: str
    call_id: str
    name: str
    arguments: object
    why: str
    rule: str | None = None
    expires_ms: int | None = None
    agent: str | None = None
    depth: int = 0

    def to_json(self) -> dict[str, object]:
        rule = {} if self.rule is None else {"rule": self.rule}
        return {
            "turn_id": self.turn_id,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
            "why": self.why,
            **rule,
            "expires_at": None if self.expires_ms is None else iso(self.expires_ms),
            **_nested(self.agent, self.depth),
        }


@dataclass(frozen=True, slots=True)
class ApprovalDecided:
    """A call was approved or refused. `by`: who decided; `remember`: for how long the answer holds."""

    kind: ClassVar = EventKind.APPROVAL_DECIDED
    turn_id: str
    call_id: str
    approved: bool
    by: str
    edited: bool = False
    reason: str | None = None
    remember: str | None = None

    def to_json(self) -> dict[str, object]:
        reason = {} if self.reason is None else {"reason": self.reason}
        remember = {} if self.remember is None else {"remember": self.remember}
        return {
            "turn_id": self.turn_id,
            "call_id": self.call_id,
            "approved": self.approved,
            "by": self.by,
            "edited": self.edited,
            **reason,
            **remember,
        }


@dataclass(frozen=True, slots=True)
class Relayed:
    """What another agent does on behalf of a call; `fields` is the frame in its own session."""

    kind: EventKind
    turn_id: str
    fields: Mapping[str, object]
    agent: str
    depth: int
    chunk: str = ""

    def to_json(self) -> dict[str, object]:
        nested = _nested(self.agent, self.depth)
        fields = {name: value for name, value in self.fields.items() if name not in ("chunk", "type")}
        if isinstance(tool := fields.get("tool"), Mapping):
            return {**fields, "turn_id": self.turn_id, "tool": {**nested, **tool}}
        return {**nested, **fields, "turn_id": self.turn_id}


@dataclass(frozen=True, slots=True)
class MessageSteered:
    """A message entered the running turn before its step `step`."""

    kind: ClassVar = EventKind.MESSAGE_STEERED
    turn_id: str
    message_id: str
    message: str
    step: int

    def to_json(self) -> dict[str, object]:
        return {"turn_id": self.turn_id, "message_id": self.message_id, "step": self.step, "message": self.message}


@dataclass(frozen=True, slots=True)
class BudgetReached:
    """A budget is used up to 80 or 100 %. `budget`: `steps`, `calls`, `tokens`, `seconds` or `cost`; `action`: what
    follows (`warn`, `land`, `ask`, `stop`)."""

    kind: ClassVar = EventKind.BUDGET
    turn_id: str
    budget: str
    used: float
    limit: float
    action: str

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {"turn_id": self.turn_id, "kind": self.budget}
        return found | {"used": self.used, "limit": self.limit, "action": self.action}


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
    | ToolCalled
    | ToolProgressed
    | ToolEnded
    | TurnWaiting
    | TurnResumed
    | ApprovalRequested
    | ApprovalDecided
    | Relayed
    | MessageSteered
    | BudgetReached
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
    if isinstance(event, (ToolCalled, ToolProgressed, ToolEnded, Relayed)):
        return event.chunk
    return event.line + "\n" if isinstance(event, DebugLine) else ""


def _nested(agent: str | None, depth: int) -> dict[str, object]:
    return {} if agent is None else {"agent": agent, "depth": depth}


def _announcement(event: TurnQueued | TurnStarted) -> dict[str, object]:
    return {
        "turn_id": event.turn_id,
        "session_id": event.session_id,
        "message_id": event.message_id,
        "message": event.message,  # last: rows leave it out and have it appended (storage/events.py)
    }
