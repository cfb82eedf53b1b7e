"""What a call is answered with: a turn's end, a turn that waits or still runs, a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp import types

from app.compat.mcp_server.handles import Handled
from app.compat.mcp_server.questions import describe
from app.domain.act import Act
from app.domain.errors import HectorError
from app.domain.turn import Outcome
from app.doors.error_table import status_of


def ended(handled: Handled, outcome: Outcome) -> types.CallToolResult:
    """The answer; of any other end than completion the text so far, and the sentence that says why.

    The first answer of a session names it in its text: some clients show a model nothing else.
    """
    session_id = handled.session_log.session.session_id
    found: dict[str, Any] = {"session_id": session_id, "turn_id": outcome.turn_id, "status": outcome.state.value}
    try:
        outcome.raise_for_end(session_id)
    except HectorError as error:
        found["error"] = _error(error)
        return _result([outcome.text, error.message], found, is_error=True)
    return _result([outcome.text, *([_hint(session_id)] if handled.is_first else [])], found)


def waiting(handled: Handled, acts: Sequence[Act]) -> types.CallToolResult:
    """A turn that nobody here can answer: the text says how somebody else does."""
    agent, session_id = handled.agent.name, handled.session_log.session.session_id
    lines = [f"The turn waits. Open it with: hector chat {agent} --session {session_id}", *map(describe, acts)]
    address = f"/agents/{agent}/sessions/{session_id}"
    if any(act.waiting_for == "approval" for act in acts):
        lines.append(f'Approve with: POST {address}/approvals/CALL_ID {{"approved": true}}')
    if any(act.waiting_for in ("input", "result") for act in acts):
        lines.append(f'Answer with: POST {address}/calls/CALL_ID/result {{"result": …}}')
    calls = [{"call_id": act.call_id, "name": act.name, "waiting_for": act.waiting_for} for act in acts]
    found = {**_named(handled), "status": "waiting", "waiting_for": calls}
    return _result(["\n".join(lines)], found)


def running(handled: Handled) -> types.CallToolResult:
    """The server stops, or the client has left: the turn is not over."""
    sentence = "The server is shutting down; the turn may still end. Look for its answer in the session."
    error = {"code": "UNAVAILABLE", "reason": "shutting_down", "message": sentence}
    return _result([sentence], {**_named(handled), "status": "running", "error": error}, is_error=True)


def refused(error: HectorError) -> types.CallToolResult:
    """A call of which nothing was stored."""
    return _result([error.message], {"status": "refused", "error": _error(error)}, is_error=True)


def _named(handled: Handled) -> dict[str, Any]:
    return {"session_id": handled.session_log.session.session_id, "turn_id": handled.turn.turn_id}


def _error(error: HectorError) -> dict[str, Any]:
    details = {"details": error.details} if error.details else {}
    return {"code": status_of(error)[1], "reason": error.reason, "message": error.message, **details}


def _hint(session_id: str) -> str:
    return f"[session_id: {session_id}; send it along to go on with this conversation]"


def _result(texts: Sequence[str], structured: dict[str, Any], *, is_error: bool = False) -> types.CallToolResult:
    content: list[types.ContentBlock] = [types.TextContent(text=text) for text in texts if text]
    return types.CallToolResult(content=content, structured_content=structured, is_error=is_error)
