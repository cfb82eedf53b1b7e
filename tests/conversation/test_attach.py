"""Attaching to a session while the end of its turn, which readers know already, waits for the database."""

from __future__ import annotations

import asyncio

import pytest

from app.conversation.conversation import Conversation
from app.turns import finish
from tests.fixtures.house import ALICE, House, frames_of, until


async def test_a_stream_until_the_end_of_the_turn_does_not_wait_for_an_end_that_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finish, "RETRY_SECONDS", (0.001,))
    house = House()
    await house.open()
    stop_signal = asyncio.get_running_loop().create_future()
    conversation = Conversation(
        house.built, house.roster, max_message=100, heartbeat_seconds=12, stop_signal=stop_signal
    )
    log = await house.session("mine")
    with house.read(log) as reading:
        turn = await house.start(log)
        stream = await house.llm.answering()
        stream.say("Hello")
        await until(lambda: log.last_seq == 2)
        house.database.refuses = lambda unit: True
        stream.finish()
        await turn.done
        cursor = (await frames_of(reading))[-1][0]
    assert log.is_busy, "the session waits until it is stored"

    async def attached(after: int) -> list[str]:
        found = await conversation.attach(ALICE, "assistant", "mine", resume=str(after), until_turn_end=True)
        if found is None:
            return []
        assert found.view.until_caught_up
        return [kind for _, kind, _ in await frames_of(found.reading)]

    assert await attached(cursor) == []
    assert (await attached(2))[-1] == "turn_finished"
    house.database.refuses = None
    await until(lambda: not log.is_busy)
    await house.close()
