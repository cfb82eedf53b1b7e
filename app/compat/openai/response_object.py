"""A turn as the object `response`, and what it said as its output. Everything in it is read from turn and session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from app.compat.openai.calls import calls_asked
from app.compat.openai.endings import finish_reason
from app.domain.message import is_blank
from app.domain.session import Session
from app.domain.turn import Failure, Turn, TurnState, Usage
from app.events.log import SessionLog
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
_OPEN: Mapping[TurnState, Status] = {
    TurnState.QUEUED: "queued",
    TurnState.RUNNING: "in_progress",
    TurnState.WAITING: "in_progress",
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
INTERRUPTED = "The server stopped while this turn ran; its text so far is kept."


@dataclass(frozen=True, slots=True)
class End:
    """How far a turn is, with what it used and why it ended."""

    state: TurnState
    usage: Usage | None = None
    finish_reason: str | None = None
    failure: Failure | None = None

    @property
    def status(self) -> Status:
        if self.state in _OPEN:
            return _OPEN[self.state]
        if self.state is TurnState.COMPLETED:
            return "completed" if finish_reason(self.finish_reason) == "stop" else "incomplete"
        return "cancelled" if self.state is TurnState.CANCELLED else "failed"


def end_of(turn: OpenTurn | Turn) -> End:
    if isinstance(turn, Turn):
        return End(turn.state, turn.usage, turn.finish_reason, turn.failure)
    if not turn.done.done():
        return End(turn.state)
    outcome = turn.done.result()
    return End(outcome.state, outcome.usage, outcome.finish_reason, outcome.failure)


def response_id(turn_id: str) -> str:
    return f"resp_{turn_id.partition('_')[2]}"


def response_json(
    turn: OpenTurn | Turn, session: Session, end: End, output: Sequence[dict[str, Any]], *, previous: str | None = None
) -> dict[str, Any]:
    """`previous`: the response that the request named; a turn does not know it."""
    asked = turn.ask if isinstance(turn, OpenTurn) else turn
    return {
        "id": response_id(turn.turn_id),
        "object": "response",
        "created_at": turn.created_ms // 1000,
        "status": end.status,
        "background": turn.background,
        "conversation": {"id": session.session_id},
        "error": _error(end),
        "incomplete_details": _incomplete(end),
        "instructions": asked.instructions,
        "max_output_tokens": None,
        "metadata": session.metadata,
        "model": session.agent,
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": previous,
        "reasoning": {"effort": None, "summary": None},
        "store": not session.ephemeral,
        "temperature": None,
        "text": {"format": _format(asked.response_format)},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": _usage(end.usage),
        "user": None,
    }


def item_id(turn_id: str, place: int, since: int = 0) -> str:
    """`since`: the number of the event after which items are counted."""
    return f"msg_{turn_id.partition('_')[2]}_{f'{since}_' if since else ''}{place}"


def item_json(turn_id: str, place: int, text: str | None, status: str, since: int = 0) -> dict[str, Any]:
    """What the agent said in one go; `None`: nothing yet."""
    return {
        "id": item_id(turn_id, place, since),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if text is None else [part_json(text)],
    }


def part_json(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


async def output_of(
    runtime: Runtime, session_log: SessionLog, turn: OpenTurn | Turn, *, since: int = 0
) -> list[dict[str, Any]]:
    """What the turn said so far, after event `since`: a message before each use of tools, and the last one."""
    if (
        not since and isinstance(turn, OpenTurn) and turn.step == 1 and turn.done.done()
    ):  # the usual end, without the database
        outcome = turn.done.result()
        status = "completed" if outcome.state is TurnState.COMPLETED else "incomplete"
        return [] if is_blank(outcome.text) else [item_json(turn.turn_id, 0, outcome.text, status)]
    said = await runtime.history.said(session_log, turn.turn_id)
    found = [message for message in said if message.seq > since and not is_blank(message.content)]
    items = [
        item_json(turn.turn_id, place, one.content, "completed" if one.status == "completed" else "incomplete", since)
        for place, one in enumerate(found)
    ]
    tape = session_log.tape
    if tape is not None and tape.turn_id == turn.turn_id and not is_blank(text := session_log.visible_text()):
        items.append(item_json(turn.turn_id, len(items), text, "in_progress", since))
    return items


async def response_of(
    runtime: Runtime,
    session_log: SessionLog,
    turn: OpenTurn | Turn,
    *,
    previous: str | None = None,
    since: int = 0,
) -> dict[str, Any]:
    """The response as it is now. It is complete, too, when it ends with calls that its caller is to carry out."""
    output = await output_of(runtime, session_log, turn, since=since)
    end = end_of(turn)
    if end.state is TurnState.WAITING and (asked := await calls_asked(runtime, session_log, turn, None)) is not None:
        output += asked.items
        end = End(TurnState.COMPLETED, await runtime.history.used(session_log, turn))
    return response_json(turn, session_log.session, end, output, previous=previous)


def _error(end: End) -> dict[str, str] | None:
    if end.state is TurnState.INTERRUPTED:
        return {"code": "server_error", "message": INTERRUPTED}
    if end.state is not TurnState.FAILED:
        return None
    return {"code": "server_error", "message": end.failure.message if end.failure is not None else "The turn failed."}


def _incomplete(end: End) -> dict[str, str] | None:
    return {"reason": _INCOMPLETE[finish_reason(end.finish_reason)]} if end.status == "incomplete" else None


def _format(response_format: bytes | None) -> dict[str, Any]:
    """Responses have the fields of a schema beside its type."""
    if response_format is None:
        return {"type": "text"}
    found: dict[str, Any] = orjson.loads(response_format)
    return {"type": found["type"], **found.get("json_schema", {})}


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
