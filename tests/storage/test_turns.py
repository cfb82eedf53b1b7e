"""Turns in the database: one open at a time, one start, one end, one use of a key."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from app.domain.turn import Failure, Outcome, Timings, Turn, TurnState, Usage
from app.storage import turns
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict
from tests.fixtures.rows import a_message, a_turn, end_turn, store_messages, store_turn

QUEUED: dict[str, Any] = {"state": TurnState.QUEUED, "started_ms": None}


async def find(database: Database, turn_id: str = "t1", session_id: str = "s1") -> Turn | None:
    return await database.read(lambda connection: turns.find(connection, session_id, turn_id))


async def start(database: Database, turn_id: str) -> None:
    unit = UnitOfWork("s1")
    turns.add_start(unit, turn_id, now=3000, version="v1")
    await database.submit(unit)


async def test_a_turn_comes_back_as_it_was_stored(database: Database) -> None:
    await store_turn(database, a_turn(background=True, text="Grüße\n€", **QUEUED))
    assert await find(database) == a_turn(background=True, text="Grüße\n€", **QUEUED)
    assert await find(database, session_id="s2") is None


async def test_only_a_queued_turn_has_a_copy_of_its_message(database: Database) -> None:
    await store_turn(database, a_turn("t1", text="Hello"))
    await store_turn(database, a_turn("t2", "s1", text="Hello", **QUEUED))
    await end_turn(database, "t1", last=5, now=2000)
    texts = [turn.text for turn in (await find(database, "t1"), await find(database, "t2")) if turn is not None]
    assert texts == ["", "Hello"]
    await start(database, "t2")
    started = await find(database, "t2")
    assert started is not None
    assert started.text == ""


@pytest.mark.parametrize("first", [TurnState.RUNNING, TurnState.WAITING])
@pytest.mark.parametrize("second", [TurnState.RUNNING, TurnState.WAITING])
async def test_a_session_has_one_open_turn(database: Database, first: TurnState, second: TurnState) -> None:
    await store_turn(database, a_turn("t1", state=first))
    with pytest.raises(WriteConflict):
        await store_turn(database, a_turn("t2", state=second))
    await store_turn(database, a_turn("t3", "s2"))
    await store_turn(database, a_turn("t4", **QUEUED))
    with pytest.raises(WriteConflict):
        await start(database, "t4")


async def test_the_next_turn_begins_when_the_open_one_is_over(database: Database) -> None:
    await store_turn(database, a_turn("t1"))
    await store_turn(database, a_turn("t2", **QUEUED))
    await end_turn(database, "t1", last=5, now=2000)
    await start(database, "t2")
    found = await find(database, "t2")
    assert found is not None
    assert (found.state, found.started_ms) == (TurnState.RUNNING, 3000)


async def test_end_and_next_start_stand_in_one_batch(database: Database) -> None:
    await store_turn(database, a_turn("t1"))
    await store_turn(database, a_turn("t2", **QUEUED))
    ending = end_turn(database, "t1", last=5, now=2000)
    starting = start(database, "t2")
    await asyncio.gather(ending, starting)


async def test_a_turn_begins_once(database: Database) -> None:
    await store_turn(database, a_turn("t1", **QUEUED))
    await start(database, "t1")
    with pytest.raises(WriteConflict):
        await start(database, "t1")


async def test_a_turn_has_one_end(database: Database) -> None:
    await store_turn(database, a_turn("t1"))
    await end_turn(database, "t1", last=5, now=2000)
    with pytest.raises(WriteConflict):
        await end_turn(database, "t1", last=9, now=3000)
    found = await find(database)
    assert found is not None
    assert (found.state, found.last_seq, found.finished_ms) == (TurnState.COMPLETED, 5, 2000)
    with pytest.raises(WriteConflict):
        await end_turn(database, "nobody", last=9, now=3000)


async def test_the_end_keeps_usage_timings_and_error(database: Database) -> None:
    await store_turn(database, a_turn("t1"))
    unit = UnitOfWork("s1")
    usage, timings = Usage(1, 2, "provider"), Timings(0.5, None, 1.5)
    failure = Failure("llm_error", "kaputt €", detail="broken", provider_status=500)
    outcome = Outcome("t1", TurnState.FAILED, "llm_error", usage=usage, timings=timings, failure=failure)
    turns.add_finish(unit, outcome, last=5, now=2000)
    await database.submit(unit)
    found = await find(database)
    assert found is not None
    assert (found.usage, found.timings, found.failure) == (usage, timings, failure)


async def test_a_key_is_used_once_in_a_session(database: Database) -> None:
    async def use(session_id: str, turn_id: str) -> None:
        unit = UnitOfWork(session_id)
        turns.add_key(unit, key="k", body_hash=turn_id.encode(), turn_id=turn_id, now=1)
        await database.submit(unit)

    await use("s1", "t1")
    await use("s2", "t2")
    with pytest.raises(WriteConflict):
        await use("s1", "t3")
    assert await database.read(lambda connection: turns.find_key(connection, "s1", "k")) == (b"t1", "t1")
    assert await database.read(lambda connection: turns.find_key(connection, "s1", "other")) is None


async def test_unfinished_turns_come_in_the_order_of_their_queue(database: Database) -> None:
    await store_turn(database, a_turn("running"), place=3)
    for name, place in (("late", 9), ("first", -2), ("middle", 4)):
        await store_turn(database, a_turn(name, **QUEUED), place=place)
    await store_turn(database, a_turn("over", "s2"), place=1)
    await end_turn(database, "over", last=5, now=2000, session_id="s2")
    found = await database.read(turns.unfinished)
    assert [turn.turn_id for turn in found] == ["first", "running", "middle", "late"]


@pytest.mark.parametrize(
    ("seq", "text", "found"),
    [
        (9, "Hello", None),
        (10, "Hello", "t1"),
        (15, "Hello", "t1"),
        (20, "Hello", "t1"),
        (21, "Hello", "t1"),
        (22, "Hello", None),
        (15, "Other", None),
    ],
)
async def test_a_turn_is_found_by_a_number_in_it_or_just_behind_it(
    database: Database, seq: int, text: str, found: str | None
) -> None:
    await store_turn(database, a_turn("t1", first_seq=10))
    await store_messages(database, a_message(11, message_id="t1-user", content="Hello"))
    await end_turn(database, "t1", last=20, now=2000)
    turn = await database.read(lambda connection: turns.find_at(connection, "s1", seq, text))
    assert (turn.turn_id if turn else None) == found


async def test_a_turn_that_was_cancelled_in_the_queue_is_found_by_its_own_copy(database: Database) -> None:
    await store_turn(database, a_turn("t1", first_seq=10, text="Hello", **QUEUED))
    await end_turn(database, "t1", last=20, now=2000)
    for text, found in (("Hello", "t1"), ("", None)):
        turn = await database.read(partial(turns.find_at, session_id="s1", seq=15, text=text))
        assert (turn.turn_id if turn else None) == found
