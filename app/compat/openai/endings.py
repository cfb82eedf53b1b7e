"""How a turn ended, from its last events: a reason to stop as OpenAI's clients know it, or an error."""

from __future__ import annotations

from typing import Any, Literal

from app.domain.errors import HectorError
from app.domain.turn import Failure, Outcome, TurnState, Usage

FinishReason = Literal["stop", "length", "content_filter"]


def finish_reason(given: str | None) -> FinishReason:
    """Calls of the agent's own tools are over when the turn is, so `tool_calls` is never the end."""
    if given in ("length", "max_tokens"):
        return "length"
    return "content_filter" if given == "content_filter" else "stop"


def failure_of(event: dict[str, Any]) -> Failure:
    """What an `error` event says."""
    return Failure(str(event.get("reason", "internal")), str(event.get("message", "")), event.get("detail"))


def error_of(event: dict[str, Any], failure: Failure | None, session_id: str) -> HectorError | None:
    """What a `turn_finished` event is for a client that waits for an answer; `None` if there is one."""
    reason = event.get("reason")
    outcome = Outcome(event["turn_id"], TurnState(event["status"]), reason, failure=failure)
    try:
        outcome.raise_for_end(session_id)
    except HectorError as error:
        return error
    return None


def usage_of(usage: dict[str, Any] | None, before: Usage | None = None) -> dict[str, int]:
    """Tokens as chat completions count them, without what was told `before`."""
    usage = usage or {}
    prompt, completion = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
    if before is not None:
        prompt, completion = max(prompt - before.prompt_tokens, 0), max(completion - before.completion_tokens, 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
