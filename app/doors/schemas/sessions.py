"""Sessions on the wire: bodies of requests, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from typing_extensions import TypedDict

from app.domain.clock import iso
from app.domain.label import Trust
from app.domain.session import Session as StoredSession
from app.domain.session import SessionStatus
from app.doors.schemas.fields import (
    AgentName,
    BroughtTime,
    Count,
    EventNumber,
    NamedUser,
    Role,
    SaidText,
    SessionId,
    Time,
    Tokens,
    TurnId,
    UserId,
)
from app.doors.schemas.messages import Message
from app.doors.schemas.turns import OpenTurn
from app.doors.schemas.webhooks import SessionWebhook, ShownWebhook

# -- bodies ------------------------------------------------------------------------------------------


class SeedMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Role
    content: SaidText


class CreateSession(BaseModel):
    """Nothing is required. Unknown fields are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [{"session_id": "talk-1", "title": "Quantum things", "metadata": {"team": "physics"}}]
        },
    )

    session_id: StrictStr | None = Field(
        default=None, description="An id of your own; sent again, it answers with the same session."
    )
    user_id: NamedUser | None = None
    title: StrictStr | None = Field(default=None, max_length=500)
    metadata: dict[str, Any] | None = None
    ephemeral: StrictBool = Field(default=False, description="Keep the session in memory only.")
    messages: list[SeedMessage] = Field(default_factory=list, description="What the conversation begins with.")
    webhooks: list[SessionWebhook] = Field(
        default_factory=list, description="Programs that are told of its events, where the configuration allows it."
    )


class PatchSession(BaseModel):
    """A field that is left out stays; `null` clears it."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"title": "Entanglement"}]})

    title: StrictStr | None = Field(default=None, max_length=500)
    metadata: dict[str, Any] | None = None


class ForkSession(BaseModel):
    """Nothing is required."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"title": "Another way"}]})

    at: StrictStr | None = Field(default=None, description="Id of the last message that the fork has; default: all.")
    title: StrictStr | None = Field(default=None, max_length=500)
    session_id: StrictStr | None = None


class CancelTurn(BaseModel):
    """Nothing is required: without a field the running turn is cancelled."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"all": True}]})

    turn_id: StrictStr | None = None
    all: StrictBool = Field(default=False, description="The queued turns, too.")


class ImportedFunction(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: StrictStr = Field(min_length=1, max_length=200)
    arguments: StrictStr


class ImportedCall(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: StrictStr = Field(min_length=1, max_length=200)
    function: ImportedFunction


class ImportedMessage(BaseModel):
    """A message with `tool_calls` asks for calls, one of the role `tool` is the outcome of the call `tool_call_id`."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["user", "assistant", "tool"]
    content: StrictStr
    tool_calls: list[ImportedCall] = Field(default_factory=list, max_length=128)
    tool_call_id: StrictStr | None = Field(default=None, min_length=1, max_length=200)
    status: Literal["completed", "failed", "cancelled", "interrupted", "replaced"] = "completed"
    created_at: BroughtTime | None = None
    trust: Trust = "user"


class ImportedSession(BaseModel):
    model_config = ConfigDict(extra="ignore")

    title: StrictStr | None = Field(default=None, max_length=500)
    metadata: dict[str, Any] | None = None


class ImportSession(BaseModel):
    """An export, as `GET …/export` answers it."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"messages": [{"role": "user", "content": "What is a qubit?"}]}]},
    )

    session: ImportedSession = Field(default_factory=ImportedSession)
    messages: list[ImportedMessage]


# -- answers -----------------------------------------------------------------------------------------


class Usage(TypedDict):
    prompt_tokens: Tokens
    completion_tokens: Tokens
    total_tokens: Tokens


class Session(TypedDict):
    """A session as lists show it."""

    session_id: SessionId
    agent: AgentName
    user_id: UserId
    status: SessionStatus
    title: Annotated[str | None, Field(examples=["Quantum things"])]
    metadata: Annotated[dict[str, Any], Field(examples=[{"team": "physics"}])]
    ephemeral: bool
    created_at: Time
    active_at: Time
    expires_at: Time | None
    ended_at: Time | None
    message_count: Count
    usage: Usage
    last_seq: EventNumber
    forked_from: NotRequired[Annotated[str, Field(description="Id of the session that this one is a fork of.")]]
    ending: NotRequired[Annotated[bool, Field(description="`true` while an ended session waits for its last turn.")]]


class SessionDetail(Session):
    """A session with its turns; just created, it has none of them."""

    queued: NotRequired[Annotated[int, Field(description="Turns that wait.")]]
    queue: NotRequired[list[OpenTurn]]
    turn: NotRequired[Annotated[OpenTurn | None, Field(description="The turn that runs now.")]]
    webhooks: NotRequired[Annotated[list[ShownWebhook], Field(description="In the answer to its creation only.")]]


class SessionPage(TypedDict):
    sessions: list[Session]
    next_cursor: Annotated[str | None, Field(description="Goes into `cursor` for the next page; null on the last.")]


class StopReceipt(TypedDict):
    """What a terminate did."""

    session_id: SessionId
    status: Literal["terminated"]
    turn_id: Annotated[TurnId | None, Field(description="The turn that was stopped.")]
    last_seq: EventNumber
    ordered_at: Time
    upstream_closed_at: Annotated[Time | None, Field(description="When the connection to the model was closed.")]
    tokens_after_order: Annotated[int, Field(description="Tokens that arrived after the order; none was shown.")]


class ExportedSession(TypedDict):
    session_id: SessionId
    agent: AgentName
    user_id: UserId
    title: str | None
    metadata: dict[str, Any]
    created_at: Time


class SessionExport(TypedDict):
    """A whole conversation; `POST …/sessions/import` takes it."""

    hector: Annotated[Literal[1], Field(description="Version of the format.")]
    session: ExportedSession
    messages: list[Message]


def session_json(session: StoredSession, *, expires_ms: int | None, last_seq: int | None = None) -> Session:
    shown: Session = {
        "session_id": session.session_id,
        "agent": session.agent,
        "user_id": session.user_id,
        "status": session.status,
        "title": session.title,
        "metadata": session.metadata,
        "ephemeral": session.ephemeral,
        "created_at": iso(session.created_ms),
        "active_at": iso(session.active_ms),
        "expires_at": iso(expires_ms),
        "ended_at": iso(session.ended_ms),
        "message_count": session.message_count,
        "usage": {
            "prompt_tokens": session.prompt_tokens,
            "completion_tokens": session.completion_tokens,
            "total_tokens": session.prompt_tokens + session.completion_tokens,
        },
        "last_seq": session.last_seq if last_seq is None else last_seq,
    }
    if session.forked_from is not None:
        shown["forked_from"] = session.forked_from
    if session.ending is not None and session.status is SessionStatus.ACTIVE:
        shown["ending"] = True
    return shown
