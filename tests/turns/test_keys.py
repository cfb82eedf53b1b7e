"""Idempotency keys: the same key and body are one turn, however they come."""

from __future__ import annotations

import asyncio

import pytest

from app.domain.errors import Conflict, Unavailable
from app.events.log import SessionLog
from app.turns.ask import Ask
from app.turns.desk import desk_of
from app.turns.keys import make_key
from app.turns.open_turn import OpenTurn
from tests.fixtures.house import NEVER, House


async def start(
    house: House, log: SessionLog, text: str = "Hi", name: str = "k", *, background: bool = False
) -> OpenTurn | str:
    key = make_key(name, text, background=background)

    async def begin() -> OpenTurn:
        return await house.admission.start(
            log, house.agent, Ask(text), background=background, key=key, grace_seconds=NEVER
        )

    return await house.admission.once(log, house.agent, key, begin)


async def test_the_same_key_and_body_is_the_same_turn(house: House) -> None:
    log = await house.session()
    first = await start(house, log)
    assert await start(house, log) is first
    assert len(house.history.open_turns(log)) == 1


async def test_calls_at_once_are_one_turn(house: House) -> None:
    log = await house.session()
    turns = await asyncio.gather(*[start(house, log) for _ in range(6)])
    assert {id(turn) for turn in turns} == {id(turns[0])}
    assert [text for _, _, text in await house.texts(log)] == ["Hi"]


async def test_another_body_under_the_key_is_refused_at_once_and_later(house: House) -> None:
    log = await house.session()
    first, *others = await asyncio.gather(
        start(house, log), start(house, log, "Other"), start(house, log, background=True), return_exceptions=True
    )
    assert isinstance(first, OpenTurn)
    assert [getattr(other, "reason", None) for other in others] == ["idempotency_conflict"] * 2
    (await house.llm.answering()).finish()
    await first.done
    with pytest.raises(Conflict):
        await start(house, log, "Other")


async def test_a_turn_that_is_over_answers_by_its_id(house: House) -> None:
    log = await house.session()
    turn = await start(house, log)
    assert isinstance(turn, OpenTurn)
    (await house.llm.answering()).finish()
    await turn.done
    assert [await start(house, log) for _ in range(2)] == [turn.turn_id] * 2
    desk = desk_of(log)
    assert desk is not None
    assert len(desk.keys) == 0, "the row answers for it"


async def test_a_queued_turn_is_found_by_its_key(house: House) -> None:
    log = await house.session()
    await start(house, log, "first", "a")
    waiting = await start(house, log, "second", "b")
    assert await start(house, log, "second", "b") is waiting
    assert len(house.history.open_turns(log)) == 2


async def test_keys_belong_to_their_session(house: House) -> None:
    one, other = await house.session(), await house.session()
    assert await start(house, one) is not await start(house, other)


async def test_a_key_whose_message_was_not_stored_is_free_again(house: House) -> None:
    log = await house.session()
    house.database.refuses = lambda unit: True
    results = await asyncio.gather(*[start(house, log) for _ in range(3)], return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    house.database.refuses = None
    assert isinstance(await start(house, log), OpenTurn)


async def test_a_caller_that_goes_away_leaves_its_key_to_its_message(house: House) -> None:
    log = await house.session()
    house.database.hold()
    leaving = asyncio.ensure_future(start(house, log))
    while not house.database.held:
        await asyncio.sleep(0.001)
    leaving.cancel()
    await asyncio.wait([leaving])
    house.database.let_go()
    await house.llm.answering()
    again = await start(house, log)
    assert isinstance(again, OpenTurn)
    assert house.history.open_turns(log) == [again]
