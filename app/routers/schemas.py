"""Bodies of requests, and the wire objects of sessions, messages and turns."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from app.domain.clock import iso
from app.domain.message import Message
from app.domain.session import Session, SessionStatus
from app.domain.turn import Turn
from app.events.run import Run
from app.turns.desk import OpenTurn


class SeedMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["user", "assistant"]
    content: StrictStr = Field(min_length=1)


class CreateSession(BaseModel):
    """Body of `POST …/sessions`: nothing is required. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    session_id: StrictStr | None = Field(default=None, description="An id of your own; again = the same session.")
    user_id: StrictStr | None = Field(default=None, min_length=1, max_length=256)
    title: StrictStr | None = Field(default=None, max_length=500)
    metadata: dict[str, Any] | None = None
    ephemeral: StrictBool = Field(default=False, description="Keep it in memory only.")
    messages: list[SeedMessage] = Field(default_factory=list, description="What the conversation begins with.")


class Fork(BaseModel):
    """Body of `POST …/fork`."""

    model_config = ConfigDict(extra="ignore")

    at: StrictStr | None = Field(default=None, description="The last message that is kept; default: all.")
    title: StrictStr | None = Field(default=None, max_length=500)
    session_id: StrictStr | None = None


class SearchDocuments(BaseModel):
    """Body of `POST /document_stores/…/search`."""

    model_config = ConfigDict(extra="ignore")

    query: StrictStr = Field(min_length=1, max_length=4000)
    limit: StrictInt = Field(default=10, ge=1, le=100)


class ReadAgain(BaseModel):
    """Body of `POST /document_stores/…/reindex`."""

    model_config = ConfigDict(extra="ignore")

    again: StrictBool = Field(default=False, description="Read every file again, also those that did not change.")


class EditMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    content: StrictStr = Field(min_length=1)


class AddMessage(BaseModel):
    """Body of `POST …/messages` with `"turn": false`."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["user", "assistant"]
    content: StrictStr = Field(min_length=1)
    turn: Literal[False]


class Regenerate(BaseModel):
    """Body of `POST …/regenerate`: nothing is required."""

    model_config = ConfigDict(extra="ignore")

    message_id: StrictStr | None = Field(default=None, description="The last answer, or the message it answers.")
    instructions: StrictStr | None = Field(default=None, min_length=1, max_length=100_000)
    background: StrictBool = False


class ImportedMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["user", "assistant"]
    content: StrictStr
    status: Literal["completed", "failed", "cancelled", "interrupted", "replaced"] = "completed"
    created_at: AwareDatetime | None = None


class ImportedSession(BaseModel):
    model_config = ConfigDict(extra="ignore")

    title: StrictStr | None = Field(default=None, max_length=500)
    metadata: dict[str, Any] | None = None


class ImportSession(BaseModel):
    """An export, as `GET …/export` gives it."""

    model_config = ConfigDict(extra="ignore")

    session: ImportedSession = Field(default_factory=ImportedSession)
    messages: list[ImportedMessage]


class PatchSession(BaseModel):
    model_config = ConfigDict(extra="ignore")

    title: StrictStr | None = Field(default=None, max_length=500)
    metadata: dict[str, Any] | None = None


class SendMessage(BaseModel):
    """Body of `POST …/messages` and `…/messages/stream`."""

    model_config = ConfigDict(extra="ignore")

    message: StrictStr = Field(min_length=1)
    background: StrictBool = False
    on_busy: Literal["queue", "reject", "replace"] | None = None
    instructions: StrictStr | None = Field(
        default=None, min_length=1, max_length=100_000, description="Added to the system prompt, for this turn only."
    )


class CancelTurn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    turn_id: StrictStr | None = None
    all: StrictBool = False


def session_json(session: Session, *, expires_ms: int | None, last_seq: int | None = None) -> dict[str, Any]:
    """A session as lists show it."""
    shown: dict[str, Any] = {
        "session_id": session.session_id,
        "agent": session.agent,
        "user_id": session.user_id,
        "status": session.status.value,
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


def open_turn_json(turn: OpenTurn, *, text: str | None = None) -> dict[str, Any]:
    """A running or queued turn inside its session; `text` is what it has said so far."""
    shown: dict[str, Any] = {
        "turn_id": turn.turn_id,
        "status": turn.state.value,
        "background": turn.background,
        "user_message_id": turn.user_message_id,
        "message_id": turn.message_id,
        "message": turn.text,
        "created_at": iso(turn.created_ms),
        "started_at": iso(turn.started_ms or None),
    }
    if text is not None:
        shown["partial_text"] = text
    return shown


def turn_json(turn: Turn | OpenTurn, session_id: str) -> dict[str, Any]:
    """A turn on its own; open or over."""
    if isinstance(turn, OpenTurn):
        outcome = turn.done.result() if turn.done.done() else None
        shown = {
            "status": turn.state.value,
            "message_id": outcome.message_id if outcome else turn.message_id,
            "finished_at": iso(outcome.finished_ms) if outcome else None,
            "usage": outcome.usage if outcome else None,
            "timings": outcome.timings if outcome else None,
        }
        reason, error = (outcome.reason, outcome.error) if outcome else (None, None)
        started_ms: int | None = turn.started_ms or None
    else:
        shown = {
            "status": turn.state.value,
            "message_id": turn.message_id,
            "finished_at": iso(turn.finished_ms),
            "usage": turn.usage,
            "timings": turn.timings,
        }
        reason, error, started_ms = turn.reason, turn.error, turn.started_ms
    head: dict[str, Any] = {"turn_id": turn.turn_id, "session_id": session_id, "status": shown["status"]}
    if reason is not None:
        head["reason"] = reason
    if error is not None:
        head["error"] = error
    step = {
        "kind": "model",
        "usage": shown["usage"],
        "started_at": iso(started_ms),
        "finished_at": shown["finished_at"],
    }
    record = turn.memory_record if isinstance(turn, OpenTurn) else turn.memory
    memory = {"memory": record} if record is not None else {}
    return {
        **head,
        "background": turn.background,
        "created_at": iso(turn.created_ms),
        "started_at": iso(started_ms),
        "finished_at": shown["finished_at"],
        "user_message_id": turn.user_message_id,
        "message_id": shown["message_id"],
        "steps": [step] if started_ms is not None else [],
        "usage": shown["usage"],
        "timings": shown["timings"],
        **memory,
    }


def message_json(message: Message) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "turn_id": message.turn_id,
        "role": message.role,
        "content": message.content,
        "status": message.status,
        "created_at": iso(message.created_ms),
        "seq": message.seq,
    }


def event_json(run: Run, seq: int, frame: dict[str, Any]) -> dict[str, Any]:
    return {"seq": seq, "type": run.kind.value, "created_at": iso(run.at_ms or None), **frame}
