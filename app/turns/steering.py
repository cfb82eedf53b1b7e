"""Steering: a message that waits for its turn enters the running one, at the border between two steps."""

from __future__ import annotations

from app.domain.event import MessageSteered, TurnFinished
from app.domain.message import Message
from app.domain.turn import Outcome, TurnState
from app.events.change import Change
from app.memory.working import entry
from app.storage import messages, turns
from app.turns.acting import Acting
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn
from app.turns.step import ensure_room

STEERED = "steered"


async def absorb(desk: Desk, turn: OpenTurn, acting: Acting) -> None:
    """Take the messages that were sent to steer `turn` out of the queue and into its conversation."""
    while True:
        message = next((waiting for waiting in desk.queue if waiting.steers), None)
        if message is None or turn.stop is not None:
            return
        await _absorb(desk, turn, message, acting)


async def _absorb(desk: Desk, turn: OpenTurn, steering: OpenTurn, acting: Acting) -> None:
    desk.queue.remove(steering)
    now = acting.clock_ms()
    await ensure_room(desk.session_log, 2)
    outcome = Outcome(steering.turn_id, TurnState.COMPLETED, STEERED, finished_ms=now)
    async with Change(desk.session_log) as change:
        steered = MessageSteered(turn.turn_id, steering.user_message_id, steering.text, turn.step + 1)
        seq = change.fact(steered).first
        messages.add(
            change.unit,
            Message(
                message_id=steering.user_message_id,
                session_id=desk.session_id,
                turn_id=turn.turn_id,
                role="user",
                content=steering.text,
                status="completed",
                seq=seq,
                created_ms=now,
            ),
        )
        change.count(messages=1)
        last = change.fact(TurnFinished(steering.turn_id, TurnState.COMPLETED, None, STEERED)).first
        turns.add_absorbed(change.unit, outcome, last=last, now=now)

        def entered() -> None:
            said = entry("user", steering.text, steering.user_message_id, seq)
            turn.entries.append(said)
            if desk.window is not None:
                desk.window.append(said)
            steering.settle(outcome)
            desk.keys.release(steering)
            desk.settle()

        change.on_commit(entered)
        change.on_failure(lambda: desk.queue.insert(0, steering))
