"""Waiting: whether a turn that waits can go on."""

from __future__ import annotations

from app.domain.act import ActState
from app.turns.open_turn import OpenTurn

_RUNNABLE = frozenset({ActState.APPROVED, ActState.STARTED})
_OWED = frozenset({ActState.WAITING, ActState.UNKNOWN})


def can_go_on(turn: OpenTurn) -> bool:
    """Whether there is something to do: an act may run, or none waits any more."""
    states = {act.state for act in turn.acts}
    return bool(states & _RUNNABLE) or not states & _OWED
