"""What is told about a turn that is over: counters, a trace, a line in the log."""

from __future__ import annotations

import logging

from app.domain.turn import Outcome
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn

log = logging.getLogger(__name__)


class Reporter:
    """Tells the outside; never the reader, never in the turn's own time."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    def turn_ended(self, desk: Desk, turn: OpenTurn, outcome: Outcome) -> None:
        agent, usage, timings, failure = desk.agent, outcome.usage, outcome.timings, outcome.failure
        total_ms = (timings.total_ms if timings is not None else None) or 0.0
        first_ms = timings.first_token_ms if timings is not None else None
        self._metrics.turn_ended(
            agent=agent.name,
            llm=agent.llm.name,
            status=outcome.state.value,
            reason=outcome.reason,
            provider_status=failure.provider_status if failure is not None else None,
            prompt_tokens=usage.prompt_tokens if usage is not None else 0,
            completion_tokens=usage.completion_tokens if usage is not None else 0,
            first_token_seconds=first_ms / 1000 if first_ms is not None else None,
            total_seconds=total_ms / 1000,
            gap_seconds=turn.longest_gap,
        )
        self._tracing.turn_ended(
            agent=agent.name,
            model=agent.llm.model,
            session_id=desk.session_id,
            turn_id=turn.turn_id,
            status=outcome.state.value,
            error=outcome.reason if failure is not None else None,
            created_ms=turn.created_ms,
            queued_ms=timings.queued_ms if timings is not None else None,
            first_token_ms=first_ms,
            total_ms=total_ms,
            usage=usage,
            caller=turn.caller,
        )
        level = logging.WARNING if failure is not None else logging.DEBUG
        if log.isEnabledFor(level):
            why = f", {failure.message}" if failure is not None else ""
            log.log(level, "turn %s: after %.0f ms%s", outcome.state.value, total_ms, why, extra=ids(desk, turn))


def ids(desk: Desk, turn: OpenTurn) -> dict[str, str]:
    """What a log line about a turn carries (`extra=`)."""
    return {"session_id": desk.session_id, "turn_id": turn.turn_id, "agent": desk.agent.name}
