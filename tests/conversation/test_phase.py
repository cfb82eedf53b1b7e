"""What waiting readers are told of a session: what it is busy with, and since when."""

from __future__ import annotations

import asyncio
import time

from app.conversation.phase import phase_of
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.storage.engine.database import Database
from app.turns.ask import Ask
from app.turns.open_turn import OpenTurn
from tests.fixtures.clock import Clock
from tests.fixtures.rows import a_session


async def test_the_seconds_of_a_turn_without_text_count_from_its_start_not_from_the_text_before() -> None:
    log = SessionLog(a_session(last_seq=50, reserved_seq=100), Database(None), ring_bytes=100, clock_ms=Clock())
    turn = a_turn()
    now = time.monotonic()
    log.last_text_clock, turn.started_clock = now - 60, now - 5
    fresh = phase_of(log, turn)["since_token_s"]
    log.last_text_clock = now - 2

    assert (fresh, phase_of(log, turn)["since_token_s"]) == (5.0, 2.0)


def a_turn() -> OpenTurn:
    return OpenTurn(
        turn_id="turn_1",
        ask=Ask("Hello"),
        user_message_id="msg_1",
        message_id="msg_2",
        background=False,
        created_ms=0,
        created_clock=0.0,
        done=asyncio.get_running_loop().create_future(),
        grace_seconds=None,
        state=TurnState.RUNNING,
    )
