"""Messages on the wire: bodies of requests, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from typing_extensions import TypedDict

from app.domain.clock import iso
from app.domain.message import Message as StoredMessage
from app.domain.turn import Outcome
from app.doors.schemas.acts import ActShown
from app.doors.schemas.fields import EventNumber, MessageId, Role, SaidText, SessionId, Time, TurnId
from app.doors.schemas.turns import Timings, TurnUsage, timings_json, usage_json
from app.turns.structured import value_of

# -- bodies ------------------------------------------------------------------------------------------

ResponseFormat = Annotated[
    dict[str, Any],
    Field(
        description="The form of the answer: `text`, `json_object`, or `json_schema` with the schema that it fits; "
        "default: `structured_output` of the model.",
        examples=[{"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}],
    ),
]


class SendMessage(BaseModel):
    """A message of the user, which starts a turn. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"message": "What is a qubit?"}]})

    message: SaidText
    background: StrictBool = Field(
        default=False, description="Answer with 202 at once; the turn goes on without a reader."
    )
    on_busy: Literal["queue", "reject", "replace", "steer"] | None = Field(
        default=None, description="What to do when a turn runs; default: `sessions.on_busy`."
    )
    instructions: StrictStr | None = Field(
        default=None, min_length=1, max_length=100_000, description="Added to the system prompt, for this turn only."
    )
    response_format: ResponseFormat | None = None


class AddMessage(BaseModel):
    """A message that starts no turn."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"role": "assistant", "content": "How can I help?", "turn": False}]},
    )

    role: Role
    content: SaidText
    turn: Literal[False]


class EditMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"content": "What is a qutrit?"}]})

    content: SaidText


class Regenerate(BaseModel):
    """Nothing is required."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"instructions": "Be brief."}]})

    message_id: StrictStr | None = Field(default=None, description="The last answer, or the message that it answers.")
    instructions: StrictStr | None = Field(default=None, min_length=1, max_length=100_000)
    background: StrictBool = False
    response_format: ResponseFormat | None = None


# -- answers -----------------------------------------------------------------------------------------


class CalledFunction(TypedDict):
    name: Annotated[str, Field(examples=["write_file"])]
    arguments: Annotated[str, Field(description="JSON text, as the model wrote it.")]


class CalledTool(TypedDict):
    """A call that the model asks for, in the form that models are given."""

    id: Annotated[str, Field(description="Its `call_id`.")]
    type: Literal["function"]
    function: CalledFunction


class Message(TypedDict):
    message_id: MessageId
    turn_id: Annotated[TurnId | None, Field(description="Null for a message that no turn made.")]
    role: Annotated[Literal["user", "assistant", "tool"], Field(description="`tool`: the outcome of a call.")]
    content: Annotated[str, Field(examples=["A qubit is a quantum bit."])]
    status: Annotated[str, Field(description="That of its turn, or `replaced`.", examples=["completed"])]
    created_at: Time
    seq: EventNumber
    tool_calls: NotRequired[list[CalledTool]]
    tool_call_id: NotRequired[Annotated[str, Field(description="The call whose outcome this is.")]]
    result_id: NotRequired[Annotated[str, Field(description="Where the whole result is, if this is a part.")]]
    trust: NotRequired[
        Annotated[
            Literal["owner", "tool", "web"],
            Field(description="The least trusted of what it was made of; `web`: anybody's text. Absent: the user's."),
        ]
    ]


class MessagePage(TypedDict):
    """Oldest first. An answer that is being written comes last, with its text so far."""

    messages: list[Message]
    next_before: Annotated[int | None, Field(description="Goes into `before` for the page before; null on the first.")]


class Answer(TypedDict):
    """The answer of a completed turn."""

    response: Annotated[str, Field(examples=["A qubit is a quantum bit."])]
    session_id: SessionId
    turn_id: TurnId
    message_id: Annotated[MessageId | None, Field(description="Of the answer; null if the model said nothing.")]
    usage: TurnUsage | None
    timings: Timings | None
    output: NotRequired[
        Annotated[Any, Field(description="The JSON value that the response is, where one was asked for.")]
    ]


class BackgroundTurn(TypedDict):
    """A turn that goes on without this caller: begun in the background, waiting for somebody, or steered."""

    turn_id: TurnId
    session_id: SessionId
    after: Annotated[EventNumber, Field(description="Follow the turn with `GET …/messages/stream?after=`.")]
    status: NotRequired[Annotated[Literal["waiting"], Field(description="It waits for somebody.")]]
    waiting_for: NotRequired[Literal["approval", "result", "input"] | None]
    calls: NotRequired[Annotated[list[ActShown], Field(description="The calls that it waits for.")]]
    message_id: NotRequired[Annotated[MessageId, Field(description="Of the message that steers the turn.")]]
    steer: NotRequired[
        Annotated[Literal["accepted", "queued"], Field(description="`queued`: no turn ran, it is one of its own.")]
    ]


def message_json(message: StoredMessage) -> Message:
    shown: Message = {
        "message_id": message.message_id,
        "turn_id": message.turn_id,
        "role": message.role,
        "content": message.content,
        "status": message.status,
        "created_at": iso(message.created_ms),
        "seq": message.seq,
    }
    if message.tool_calls:
        shown["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    if message.result_id is not None:
        shown["result_id"] = message.result_id
    if message.trust != "user":
        shown["trust"] = message.trust
    return shown


def answer_json(session_id: str, outcome: Outcome, *, is_json: bool = False) -> Answer:
    """What a client that waited gets for a completed turn. `is_json`: its text was to be JSON.

    It may be none all the same: the turn ended before its model had a schema, or its text was forgotten since.
    """
    shown: Answer = {
        "response": outcome.text,
        "session_id": session_id,
        "turn_id": outcome.turn_id,
        "message_id": outcome.message_id,
        "usage": usage_json(outcome.usage),
        "timings": timings_json(outcome.timings),
    }
    if is_json and (value := value_of(outcome.text)) is not None:
        shown["output"] = value
    return shown
