"""Events on the wire: the frames of a stream, and pages of events."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, RootModel
from typing_extensions import TypedDict

from app.domain.clock import iso
from app.domain.turn import TurnState
from app.events.run import Run
from app.routers.schemas.fields import EventNumber, FinishReason, MessageId, SessionId, Time, TurnId
from app.routers.schemas.turns import Recalled, SummaryOutcome, Timings, TurnUsage

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


class Event(
    RootModel[
        TextEvent
        | ThinkingEvent
        | TurnQueuedEvent
        | TurnStartedEvent
        | TurnFinishedEvent
        | MemoryEvent
        | SummaryEvent
        | DebugEvent
        | SnapshotEvent
        | ErrorEvent
        | SessionEndedEvent
        | SessionTerminatedEvent
        | ReconnectEvent
    ]
):
    """One numbered fact in the life of a session. A frame of a stream has one in its `data`."""


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
