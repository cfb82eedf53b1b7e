"""Events on the wire: the frames of a stream, and pages of events."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, RootModel
from typing_extensions import TypedDict

from app.domain.clock import iso
from app.domain.turn import TurnState
from app.doors.schemas.fields import EventNumber, FinishReason, MessageId, SessionId, Time, TurnId
from app.doors.schemas.turns import Recalled, SummaryOutcome, Timings, TurnUsage
from app.events.run import Run

Shown = Annotated[str, Field(description="What a plain front end appends to the answer; often empty.")]


class _Event(TypedDict):
    chunk: Shown
    seq: NotRequired[Annotated[EventNumber, Field(description="In pages only; a frame of a stream has it as its id.")]]
    created_at: NotRequired[Annotated[Time | None, Field(description="In pages only.")]]


class TextEvent(_Event):
    """A piece of the answer. Frames of a stream leave `type` out."""

    type: NotRequired[Literal["text"]]


class ThinkingEvent(_Event):
    """A piece of what the model thinks aloud."""

    type: Literal["thinking"]


class _Announced(_Event):
    turn_id: TurnId
    session_id: SessionId
    message_id: Annotated[MessageId, Field(description="Of the user's message.")]
    message: Annotated[str, Field(description="The user's message.")]


class TurnQueuedEvent(_Announced):
    type: Literal["turn_queued"]


class TurnStartedEvent(_Announced):
    type: Literal["turn_started"]


class TurnFinishedEvent(_Event):
    """The end of a turn; each turn has exactly one."""

    type: Literal["turn_finished"]
    status: TurnState
    reason: NotRequired[Annotated[str, Field(description="Why it ended other than completed.")]]
    turn_id: TurnId
    message_id: Annotated[MessageId | None, Field(description="Of the answer; null if there is none.")]
    finish_reason: FinishReason | None
    usage: TurnUsage | None
    timings: Timings | None


class MemoryEvent(_Event, Recalled):
    """What was recalled for the message."""

    type: Literal["memory"]
    turn_id: TurnId


class SummaryEvent(_Event, SummaryOutcome):
    """Older messages were summed up for this turn, or left out."""

    type: Literal["summary"]
    turn_id: TurnId


class _Nested(_Event):
    agent: NotRequired[Annotated[str, Field(description="The agent that was called, where it is not the session's.")]]
    depth: NotRequired[Annotated[int, Field(description="How many calls of agents it is nested in.")]]


CallId = Annotated[str, Field(description="Of the call.", examples=["call_01"])]


AnnouncedCall = TypedDict(
    "AnnouncedCall",
    {
        "call_id": CallId,
        "name": str,
        "arguments": Annotated[Any, Field(description="An object, or the text that is none.")],
        "class": Literal["read", "idempotent", "once"],
        "step": int,
        "agent": NotRequired[str],
        "depth": NotRequired[int],
    },
)
"""What is called."""


class ToolCallEvent(_Event):
    """The model asked for a call; `tool.class` is `read`, `idempotent` or `once`."""

    type: Literal["tool_call"]
    turn_id: TurnId
    tool: AnnouncedCall


class ToolProgressEvent(_Nested):
    """A running call says how far it is."""

    type: Literal["tool_progress"]
    turn_id: TurnId
    call_id: CallId
    text: NotRequired[str]
    percent: NotRequired[float]


class ToolResultEvent(_Nested):
    """A call is over. A large result is told by its `preview` and the id of the whole."""

    type: Literal["tool_result"]
    turn_id: TurnId
    call_id: CallId
    name: str
    status: Literal["settled", "failed", "refused", "cancelled", "unknown"]
    result: NotRequired[Any]
    preview: NotRequired[Any]
    result_id: NotRequired[str]
    bytes: NotRequired[int]
    ms: int | None
    sandbox: NotRequired[Annotated[str, Field(description="The level a process ran in.")]]


class WaitingEvent(_Event):
    """The turn waits for somebody; `question`, `choices` and `schema` say what is asked."""

    type: Literal["waiting"]
    turn_id: TurnId
    waiting_for: Literal["approval", "result", "input"]
    call_id: NotRequired[CallId]
    expires_at: NotRequired[Time]
    question: NotRequired[str]
    choices: NotRequired[list[Any]]


class ResumedEvent(_Event):
    """The turn goes on."""

    type: Literal["resumed"]
    turn_id: TurnId
    call_id: NotRequired[CallId]


class ApprovalRequestEvent(_Nested):
    """A call needs a yes: POST …/approvals/{call_id}."""

    type: Literal["approval_request"]
    turn_id: TurnId
    call_id: CallId
    name: str
    arguments: Any
    why: str
    rule: NotRequired[str]
    expires_at: Time | None


class ApprovalDecidedEvent(_Nested):
    """Somebody answered."""

    type: Literal["approval_decided"]
    turn_id: TurnId
    call_id: CallId
    approved: bool
    by: str
    edited: bool
    reason: NotRequired[str]
    remember: NotRequired[Literal["session", "agent"]]


class MessageSteeredEvent(_Event):
    """A message entered the running turn before a step."""

    type: Literal["message_steered"]
    turn_id: TurnId
    message_id: MessageId
    step: int
    message: str


class BudgetEvent(_Event):
    """A budget is used up to 80 or 100 %."""

    type: Literal["budget"]
    turn_id: TurnId
    kind: Literal["steps", "calls", "tokens", "seconds", "cost"]
    used: float
    limit: float
    action: Literal["warn", "land", "ask", "stop"]


class DebugEvent(_Event):
    type: Literal["debug"]


class SnapshotEvent(_Event):
    """All of a message so far: show it instead of what you have of that message."""

    type: Literal["snapshot"]
    turn_id: Annotated[TurnId | None, Field(description="Null for a message that no turn made.")]
    message_id: MessageId
    text: str


class ErrorEvent(_Event):
    """The turn failed; `turn_finished` follows."""

    type: Literal["error"]
    reason: Annotated[str, Field(description="A stable word to test for.", examples=["llm_error"])]
    message: str
    detail: NotRequired[Annotated[str, Field(description="The provider's own words.")]]
    provider_status: NotRequired[Annotated[int, Field(description="The HTTP status of the provider.")]]


class SessionEndedEvent(_Event):
    type: Literal["session_ended"]
    session_id: SessionId
    reason: NotRequired[Annotated[str, Field(examples=["expired"])]]


class SessionTerminatedEvent(_Event):
    type: Literal["session_terminated"]
    session_id: SessionId


class ReconnectEvent(_Event):
    """The server is shutting down: come back in a moment, with `after`."""

    type: Literal["reconnect"]
    after: int | str


class Event(RootModel[object]):
    """One numbered fact in the life of a session. A frame of a stream has one in its `data`."""

    # The union is large: its schema is built once, when a route asks for it, and not with the class as well.
    model_config = ConfigDict(defer_build=True)

    root: (
        TextEvent
        | ThinkingEvent
        | TurnQueuedEvent
        | TurnStartedEvent
        | TurnFinishedEvent
        | ToolCallEvent
        | ToolProgressEvent
        | ToolResultEvent
        | WaitingEvent
        | ResumedEvent
        | ApprovalRequestEvent
        | ApprovalDecidedEvent
        | MessageSteeredEvent
        | BudgetEvent
        | MemoryEvent
        | SummaryEvent
        | DebugEvent
        | SnapshotEvent
        | ErrorEvent
        | SessionEndedEvent
        | SessionTerminatedEvent
        | ReconnectEvent
    )


class Frame(TypedDict):
    """One server-sent event of a stream."""

    id: NotRequired[Annotated[str, Field(description="The number of the event; send it as `Last-Event-ID`.")]]
    event: NotRequired[Annotated[Literal["done"], Field(description="After each turn that a GET follows.")]]
    retry: NotRequired[Annotated[int, Field(description="Milliseconds to wait before coming back.")]]
    data: Annotated[
        str,
        Field(
            description="JSON, but for the last line of a POST and of each turn of a GET: `[DONE]`.",
            examples=['{"chunk": "Quantum"}'],
            json_schema_extra={
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/Event"},
            },
        ),
    ]


class EventPage(TypedDict):
    events: list[Event]
    next_after: Annotated[int | None, Field(description="Goes into `after` for the next page; null when none is left.")]


def event_json(run: Run, seq: int, frame: dict[str, Any]) -> dict[str, Any]:
    """`frame`: the JSON object that streams have of this event."""
    return {"seq": seq, "type": run.kind.value, "created_at": iso(run.at_ms or None), **frame}
