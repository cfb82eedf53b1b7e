"""`turn_queued` and `turn_started` carry the user's message, which is stored once: in its own row, not in theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import select

from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.storage import tables
from app.turns.open_turn import OpenTurn
from tests.fixtures.house import NEVER, House, frames_of

SECRET = 'A "secret"\nof\u2028mine, \\ and "message": too'
Frames = list[tuple[int, str, dict[str, Any]]]


@pytest.fixture
async def restart(database_url: str) -> AsyncIterator[Callable[[], Any]]:
    """Opens a house on the same database each time it is called; the one before is killed."""
    houses: list[House] = []

    async def start() -> House:
        before = houses[-1] if houses else None
        if before is not None:
            await before.kill()
        clock, ids = (before.clock, before.ids) if before else (None, None)
        houses.append(House(url=database_url, clock=clock, ids=ids))
        await houses[-1].open()
        await houses[-1].recover()
        return houses[-1]

    yield start
    await houses[-1].close()


async def announced(house: House, log: SessionLog) -> Frames:
    return [frame for frame in await frames_of(house.read(log)) if frame[1] in ("turn_queued", "turn_started")]


async def stored_facts(house: House) -> list[str]:
    return await house.database.read(
        lambda connection: list(connection.execute(select(tables.events.c.fact)).scalars())
    )


async def finish(house: House, number: int, turn: OpenTurn) -> None:
    stream = await house.llm.answering(number)
    stream.say("Noted.")
    stream.finish()
    await turn.done


async def check_replay(house: House, log: SessionLog, restart: Callable[[], Any], count: int) -> None:
    """Live readers, readers after an eviction and readers after a restart get the same frames with the message."""
    live = await announced(house, log)
    assert [frame["message"] for _, _, frame in live] == [SECRET] * count
    assert not [fact for fact in await stored_facts(house) if "secret" in fact]

    house.live.remove(log.session.session_id)
    evicted = await house.live.open(log.session.session_id)
    assert evicted is not None
    assert evicted is not log
    assert await announced(house, evicted) == live

    after = await restart()
    found = await after.live.open(log.session.session_id)
    assert found is not None
    replayed = await announced(after, found)
    assert replayed == live
    assert [list(frame) for _, _, frame in replayed] == [list(frame) for _, _, frame in live], "keys in another order"


async def test_a_turn_that_begins_at_once_is_replayed_with_its_message(restart: Callable[[], Any]) -> None:
    house = await restart()
    log = await house.session()
    await house.say(log, SECRET, "Noted.")
    await check_replay(house, log, restart, 1)


async def test_a_turn_that_was_queued_is_replayed_with_its_message(restart: Callable[[], Any]) -> None:
    house = await restart()
    log = await house.session()
    first = await house.start(log, SECRET)
    second = await house.start(log, SECRET)
    await finish(house, 1, first)
    await finish(house, 2, second)
    await check_replay(house, log, restart, 3)


async def test_an_answer_given_again_is_replayed_with_the_message(restart: Callable[[], Any]) -> None:
    house = await restart()
    log = await house.session()
    await house.say(log, SECRET, "Noted.")
    ask = await house.history.again(log, None, None)
    turn = await house.admission.start(log, house.agent, ask, grace_seconds=NEVER)
    await finish(house, 2, turn)
    await check_replay(house, log, restart, 2)


async def test_a_turn_cancelled_in_the_queue_is_replayed_with_its_message(restart: Callable[[], Any]) -> None:
    house = await restart()
    log = await house.session()
    first = await house.start(log, SECRET)
    second = await house.start(log, SECRET)
    await house.stopping.cancel(log, turn_id=second.turn_id)
    await finish(house, 1, first)
    assert (await second.done).state is TurnState.CANCELLED
    await check_replay(house, log, restart, 2)


async def test_a_turn_that_still_waits_is_replayed_with_its_message(restart: Callable[[], Any]) -> None:
    house = await restart()
    log = await house.session()
    await house.start(log, SECRET)
    await house.start(log, SECRET)
    log.drop_tail()
    live = await announced(house, log)
    assert [(kind, frame["message"]) for _, kind, frame in live] == [("turn_started", SECRET), ("turn_queued", SECRET)]
    assert not [fact for fact in await stored_facts(house) if "secret" in fact]
