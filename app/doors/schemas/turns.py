"""Turns on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from app.domain.act import Act, ActState
from app.domain.clock import iso
from app.domain.turn import Failure, TurnState, UsageSource
from app.domain.turn import Timings as Times
from app.domain.turn import Turn as StoredTurn
from app.domain.turn import Usage as UsedTokens
from app.doors.schemas.fields import (
    AgentVersion,
    Cues,
    FinishReason,
    MemoryId,
    MessageId,
    Milliseconds,
    Score,
    SessionId,
    Time,
    Tokens,
    TurnId,
)
from app.turns.open_turn import OpenTurn as WarmTurn


class TurnUsage(TypedDict):
    """Tokens of a turn; `source` says who counted: the provider, the server exactly, or the server by estimate."""

    prompt_tokens: Tokens
    completion_tokens: Tokens
    total_tokens: Tokens
    source: UsageSource


class Timings(TypedDict):
    """Milliseconds since the message was accepted."""

    queued_ms: Milliseconds | None
    first_token_ms: Milliseconds | None
    total_ms: Milliseconds | None


class TurnError(TypedDict):
    """Why a turn failed."""

    reason: Annotated[str, Field(description="A stable word to test for.", examples=["llm_error"])]
    message: str
    detail: NotRequired[Annotated[str, Field(description="The provider's own words.")]]
    provider_status: NotRequired[Annotated[int, Field(description="The HTTP status of the provider.")]]


class RecalledMemory(TypedDict):
    """A memory that the model was given. Where it comes from is null for another user's."""

    memory_id: MemoryId
    session_id: SessionId | None
    turn_id: TurnId | None
    message_id: MessageId | None
    kind: Literal["message", "summary", "note"]
    role: str
    created_at: Time
    text: str
    score: Score
    cues: Cues
    corrects: Annotated[list[str], Field(description="Ids of memories that this one made untrue.")]


class Recalled(TypedDict, total=False):
    """What long-term memory had to say to a message."""

    recall: Annotated[
        Literal["recalled", "nothing", "late", "failed"],
        Field(description="`late`: it took longer than `recall_timeout`."),
    ]
    memories: list[RecalledMemory]
    tokens: Tokens
    by_meaning: Annotated[bool, Field(description="Whether vectors took part.")]
    took_ms: Milliseconds


class SummaryOutcome(TypedDict):
    """What became of older messages that did not fit."""

    status: Annotated[
        Literal["used", "written", "failed", "left_out", "no_room"],
        Field(description="`used`: a summary stands for older messages; `no_room`: the message itself is too long."),
    ]
    upto: NotRequired[int]
    tokens: NotRequired[Annotated[int, Field(description="Of the summary; of the message where that is too long.")]]
    budget: NotRequired[Tokens]
    message: NotRequired[str]
    source: NotRequired[Literal["counted", "estimated"]]
    took_ms: NotRequired[Milliseconds]
    usage: NotRequired[TurnUsage | None]
    left_out: NotRequired[Annotated[int, Field(description="Messages that neither fit nor were summed up.")]]


class TurnMemory(Recalled):
    """What memory had to do with a turn."""

    summary: NotRequired[SummaryOutcome]


class Step(TypedDict):
    kind: Literal["model"]
    usage: TurnUsage | None
    started_at: Time | None
    finished_at: Time | None


class ToolStep(TypedDict):
    """A call of a tool; `step`: which call of the model asked for it."""

    kind: Literal["tool"]
    call_id: str
    name: str
    step: int
    status: ActState
    started_at: Time | None
    finished_at: Time | None


class Turn(TypedDict):
    turn_id: TurnId
    session_id: SessionId
    status: TurnState
    reason: NotRequired[Annotated[str, Field(description="Why it ended other than completed.")]]
    waiting_for: NotRequired[Annotated[str, Field(description="`approval`, `result` or `input`, while it waits.")]]
    error: NotRequired[TurnError]
    background: bool
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    user_message_id: MessageId
    message_id: Annotated[MessageId | None, Field(description="The answer; null if there is none.")]
    steps: Annotated[list[Step | ToolStep], Field(description="The calls of the model together, then those of tools.")]
    finish_reason: FinishReason | None
    usage: TurnUsage | None
    timings: Timings | None
    agent_version: AgentVersion | None
    memory: NotRequired[TurnMemory]


class OpenTurn(TypedDict):
    """A turn that runs or waits, inside its session."""

    turn_id: TurnId
    status: TurnState
    background: bool
    user_message_id: MessageId
    message_id: MessageId
    message: Annotated[str, Field(description="The message of the user.", examples=["What is a qubit?"])]
    created_at: Time
    started_at: Time | None
    partial_text: NotRequired[Annotated[str, Field(description="The answer so far; of the turn that runs.")]]


def usage_json(usage: UsedTokens | None) -> TurnUsage | None:
    return cast(TurnUsage, usage.to_json()) if usage is not None else None


def timings_json(timings: Times | None) -> Timings | None:
    return cast(Timings, timings.to_json()) if timings is not None else None


def open_turn_json(turn: WarmTurn, *, text: str | None = None) -> OpenTurn:
    """`text`: the answer so far."""
    shown: OpenTurn = {
        "turn_id": turn.turn_id,
        "status": turn.state,
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


def _tool_step(act: Act) -> ToolStep:
    started = next((change.at_ms for change in act.changes if change.state is ActState.STARTED), None)
    finished = act.changes[-1].at_ms if act.changes and act.state.is_over else None
    return {
        "kind": "tool",
        "call_id": act.call_id,
        "name": act.name,
        "step": act.step,
        "status": act.state,
        "started_at": iso(started),
        "finished_at": iso(finished),
    }


def turn_json(turn: StoredTurn | WarmTurn, session_id: str, acts: Sequence[Act] = ()) -> Turn:
    reason: str | None
    message_id: str | None
    usage: UsedTokens | None
    timings: Times | None
    failure: Failure | None
    finish_reason: str | None
    memory: Any
    if isinstance(turn, WarmTurn):
        outcome = turn.done.result() if turn.done.done() else None
        started_ms, memory = turn.started_ms or None, turn.memory_record
        if outcome is None:
            message_id, finished_ms, usage, timings, reason, failure = turn.message_id, None, None, None, None, None
            finish_reason = None
        else:
            message_id, finished_ms, usage = outcome.message_id, outcome.finished_ms, outcome.usage
            timings, reason, failure = outcome.timings, outcome.reason, outcome.failure
            finish_reason = outcome.finish_reason
    else:
        started_ms, memory = turn.started_ms, turn.memory
        message_id, finished_ms, usage = turn.message_id, turn.finished_ms, turn.usage
        timings, reason, failure = turn.timings, turn.reason, turn.failure
        finish_reason = turn.finish_reason
    used = usage_json(usage)
    step: Step = {"kind": "model", "usage": used, "started_at": iso(started_ms), "finished_at": iso(finished_ms)}
    shown: Any = {"turn_id": turn.turn_id, "session_id": session_id, "status": turn.state}
    if reason is not None:
        shown["reason"] = reason
    if turn.state is TurnState.WAITING and turn.waiting_for is not None:
        shown["waiting_for"] = turn.waiting_for
    if failure is not None:
        shown["error"] = failure.to_json()
    shown |= {
        "background": turn.background,
        "created_at": iso(turn.created_ms),
        "started_at": iso(started_ms),
        "finished_at": iso(finished_ms),
        "user_message_id": turn.user_message_id,
        "message_id": message_id,
        "steps": [step, *map(_tool_step, acts)] if started_ms is not None else [],
        "finish_reason": finish_reason,
        "usage": used,
        "timings": timings_json(timings),
        "agent_version": turn.agent_version,
    }
    if memory is not None:
        shown["memory"] = memory
    answered: Turn = shown
    return answered
