"""Stop: the one way to stop a running turn. A flag and closed connections, never the cancelling of its task."""

from __future__ import annotations

from app.domain.turn import TurnState
from app.turns.open_turn import OpenTurn


def stop(turn: OpenTurn, state: TurnState, reason: str | None) -> None:
    """Have the turn end with this state and reason, unless it was stopped before. Idempotent; does not wait."""
    if turn.stop is not None:
        return
    turn.stop = (state, reason)
    for stopper in turn.stoppers:
        stopper()
    if turn.stream is not None:
        turn.stream.close()
    if turn.recalling is not None:
        turn.recalling.cancel()
    if turn.condensing is not None:
        turn.condensing.stop()
