"""Shadows: open turns of a session that another replica runs, on the desk of its mirror."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import monotonic

from app.domain.event import EventKind
from app.domain.message import Message
from app.domain.turn import Turn, TurnState
from app.events.run import Run
from app.turns.ask import Ask
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn


def fill(desk: Desk, open_turns: Iterable[tuple[OpenTurn, Turn]]) -> None:
    """Put open turns of the session on the desk, as they are stored."""
    for turn, stored in open_turns:
        turn.state = stored.state
        if stored.state is TurnState.QUEUED:
            desk.queue.append(turn)
        else:
            desk.open = turn
            turn.started_seq = turn.after + 1
            turn.waiting_for = stored.waiting_for
            if stored.state is TurnState.WAITING:
                turn.parked.set()
    desk.settle()


def shadow_of(stored: Turn, first_seq: int, asked: Message | None = None) -> OpenTurn:
    """An open turn that another replica runs: nothing here stops it, starts it, or gives it a grace.

    `first_seq` is the number of its first event, `asked` its message.
    """
    text = asked.content if asked is not None else stored.text
    turn = OpenTurn(
        turn_id=stored.turn_id,
        ask=Ask(text, stored.instructions, response_format=stored.response_format),
        user_message_id=stored.user_message_id,
        message_id=stored.message_id,
        background=stored.background,
        created_ms=stored.created_ms,
        created_clock=monotonic(),
        done=asyncio.get_running_loop().create_future(),
        grace_seconds=None,
        after=first_seq - 1,
    )
    turn.started_clock = turn.created_clock
    turn.started_ms = stored.started_ms or 0
    return turn


def place(desk: Desk, turn: OpenTurn, run: Run) -> None:
    """The turn was queued, or has begun."""
    if run.kind is EventKind.TURN_QUEUED:
        if turn is not desk.open and turn not in desk.queue:
            turn.after = run.first - 1
            desk.queue.append(turn)
        return
    if turn in desk.queue:
        desk.queue.remove(turn)
    desk.open = turn
    turn.state, turn.started_seq = TurnState.RUNNING, run.first


def remove(desk: Desk, turn: OpenTurn) -> None:
    """The turn is over."""
    if desk.open is turn:
        desk.open = None
    if turn in desk.queue:
        desk.queue.remove(turn)
