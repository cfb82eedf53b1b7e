"""Closing: what becomes of the acts of a step when its turn ends in the middle of it."""

from __future__ import annotations

from app.domain.act import Act, ActState, ToolClass
from app.domain.event import ToolEnded
from app.turns import outcomes
from app.turns.outcomes import Outcome


def close_act(act: Act, now_ms: int) -> Act:
    """The act as the end of its turn leaves it: over, or unknown where nobody can say whether it happened."""
    if act.state.is_over or act.state is ActState.UNKNOWN:
        return act
    if act.state is ActState.STARTED and act.tool_class is ToolClass.ONCE:
        made = outcomes.unknown()
        return act.to(ActState.UNKNOWN, now_ms, waiting_for="input", outcome=made.text, result=made.result)
    made = outcomes.cancelled(outcomes.CANCELLED)
    return act.to(ActState.CANCELLED, now_ms, outcome=made.text, result=made.result)


def ended_by_turn(act: Act) -> ToolEnded:
    """What readers are told of such an act."""
    return ToolEnded(act.turn_id, act.call_id, act.name, act.state.value, act.result)


def ended(act: Act, made: Outcome, *, ms: int | None = None, is_shown: bool = False) -> ToolEnded:
    """What readers are told of an act with an outcome. `is_shown`: also in the text that a plain front end appends."""
    shown = made.shown.rstrip("\n")
    size = len(made.whole.encode()) if made.whole is not None else None
    chunk = shown + "\n" if shown and is_shown else ""
    return ToolEnded(
        act.turn_id, act.call_id, act.name, act.state.value, made.result, act.result_id, size, ms, made.sandbox, chunk
    )
