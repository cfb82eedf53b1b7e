"""What is told about a turn that is over: counters, a trace, a line in the log."""

from __future__ import annotations

import logging
from typing import Any

from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.turns.desk import Desk, OpenTurn, Outcome

log = logging.getLogger(__name__)


class Reporter:
    """Tells the outside; never the reader, never in the turn's own time."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def turn_ended(self, desk: Desk, turn: OpenTurn, outcome: Outcome) -> None:
        agent, session_id = desk.agent, desk.log.session.session_id
        usage: dict[str, Any] = outcome.usage or {}
        timings: dict[str, Any] = outcome.timings or {}
        total_ms: float = timings.get("total_ms") or 0.0
        first_ms: float | None = timings.get("first_token_ms")
        self._metrics.turn_ended(
            agent=agent.name,
            llm=agent.llm.name,
            status=outcome.state.value,
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
            first_token_seconds=first_ms / 1000 if first_ms is not None else None,
            total_seconds=total_ms / 1000,
            gap_seconds=turn.longest_gap,
        )
        self._tracing.turn_ended(
            agent=agent.name,
            model=agent.llm.model,
            session_id=session_id,
            turn_id=turn.turn_id,
            status=outcome.state.value,
            error=outcome.reason if outcome.error is not None else None,
            created_ms=turn.created_ms,
            queued_ms=timings.get("queued_ms"),
            first_token_ms=first_ms,
            total_ms=total_ms,
            usage=usage,
        )
        level = logging.WARNING if outcome.error is not None else logging.DEBUG
        if log.isEnabledFor(level):
            error: dict[str, Any] = outcome.error or {}
            log.log(
                level,
                "turn %s: %s%s",
                outcome.state.value,
                f"after {total_ms:.0f} ms",
                f", {error.get('message')}" if error else "",
                extra=ids(desk, turn),
            )


def ids(desk: Desk, turn: OpenTurn) -> dict[str, str]:
    """What a log line about a turn carries (`extra=`)."""
    return {"session_id": desk.log.session.session_id, "turn_id": turn.turn_id, "agent": desk.agent.name}
