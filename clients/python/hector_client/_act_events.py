"""Events of agents that act: calls of tools, what a turn waits for, what enters or limits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hector_client._event import Event


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
