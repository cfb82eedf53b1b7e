"""Waiting for the end of a turn, and what it said."""

from __future__ import annotations

from starlette.types import Receive

from app.conversation.conversation import Following
from app.domain.message import is_blank
from app.domain.turn import Outcome, Turn
from app.doors.dependencies import gone
from app.events.log import SessionLog
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn


async def wait_for_end(following: Following, turn: OpenTurn | Turn, receive: Receive) -> Outcome:
    """The end of the turn. A turn that waits for somebody is waited for, too: this dialect has no word for it.

    Raises: what `Following.outcome` raises.
    """
    outcome = await following.outcome(turn, lambda: gone(receive), through_waits=True)
    assert outcome is not None
    return outcome


async def answers_of(runtime: Runtime, session_log: SessionLog, turn: OpenTurn | Turn, outcome: Outcome) -> list[str]:
    """The texts that a turn said, in order: one before each use of tools, and the last one."""
    if isinstance(turn, OpenTurn) and turn.step == 1:  # 0: of another server, which counts its steps
        return [outcome.text]
    said = await runtime.history.said(session_log, outcome.turn_id)
    return [message.content for message in said if not is_blank(message.content)] or [outcome.text]
