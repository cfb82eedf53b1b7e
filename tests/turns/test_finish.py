"""The end of a turn when the database cannot write: tried again, told, and stored as soon as it can be."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from app.domain.errors import Unavailable
from app.domain.session import Session
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.storage import sessions
from app.storage.engine.unit_of_work import UnitOfWork
from app.turns import finish
from tests.fixtures.house import House, frames_of, until


async def row(house: House, log: SessionLog) -> Session:
    found = await house.database.read(partial(sessions.find, session_id=log.session.session_id))
    assert found is not None
    return found


async def answered(house: House, log: SessionLog, *texts: str):  # type: ignore[no-untyped-def]
    """A turn that has said its text and is about to end."""
    turn = await house.start(log)
    stream = await house.llm.answering(len(house.llm.streams) or 1)
    stream.say(*texts)
    await until(lambda: log.tape is not None and log.tape.text() == "".join(texts))
    return turn, stream


async def test_an_end_that_is_refused_for_a_moment_is_told_once(house: House) -> None:
    log = await house.session()
    with house.read(log) as reading:
        turn, stream = await answered(house, log, "a", "b")
        refusals = [True, True]
        house.database.refuses = lambda unit: bool(refusals and refusals.pop())
        stream.finish()
        assert (await turn.done).state is TurnState.COMPLETED
        frames = await frames_of(reading)
    assert [kind for _, kind, _ in frames] == ["turn_started", "text", "text", "turn_finished"]
    assert house.database.refused == 2
    assert frames == await frames_of(house.read(log)), "who comes later is told the same"


async def test_an_end_that_cannot_be_written_is_told_as_failed_and_written_when_it_can_be(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "RETRY_SECONDS", (0.001,))
    log = await house.session()
    with house.read(log) as reading:
        turn, stream = await answered(house, log, "a", "b")
        house.database.refuses = lambda unit: True
        stream.finish()
        found: list[str] = []
        while "turn_finished" not in found:
            found += [kind for _, kind, _ in await frames_of(reading)]
            await asyncio.sleep(0.001)
        assert found == ["turn_started", "text", "text", "error", "turn_finished"]
        assert log.is_busy, "the session waits until it is written"
        with pytest.raises(Unavailable):
            await house.start(log, "next", on_busy="queue")
        house.database.refuses = None
        outcome = await turn.done
    assert (outcome.state, outcome.reason) == (TurnState.FAILED, "storage_unavailable")
    await until(lambda: not log.is_busy)
    stored = await house.stored(log, turn.turn_id)
    assert (stored.state, stored.reason) == (TurnState.FAILED, "storage_unavailable")
    assert (await house.texts(log))[1] == ("assistant", "failed", "ab")
    assert (await house.say(log, "again", "yes")).state is TurnState.COMPLETED


async def test_text_that_the_journal_writes_before_a_late_end_does_not_keep_the_end_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "RETRY_SECONDS", (0.001,))
    log = await house.session()
    turn, stream = await answered(house, log, "a", "b")
    house.database.refuses = lambda unit: True
    stream.finish()
    assert (await turn.done).reason == "storage_unavailable"
    house.database.refuses = lambda unit: len(unit.steps) > 1
    house.store.journal.write(log)
    house.database.refuses = None
    await until(lambda: not log.is_busy)
    assert (await house.stored(log, turn.turn_id)).state is TurnState.FAILED
    assert (await house.texts(log))[1] == ("assistant", "failed", "ab")
    assert [frame["chunk"] for _, kind, frame in await frames_of(house.read(log)) if kind == "text"] == ["a", "b"]


async def test_a_message_that_cannot_be_stored_is_refused_and_leaves_nothing(house: House) -> None:
    log = await house.session()
    house.database.refuses = lambda unit: True
    with pytest.raises(Unavailable) as caught:
        await house.start(log)
    assert caught.value.reason == "storage_unavailable"
    house.database.refuses = None
    assert (log.is_busy, log.session.message_count) == (False, 0)
    assert (await house.say(log, "Hi", "Hello")).state is TurnState.COMPLETED
    assert log.session == await row(house, log)
    assert [number for number, _, _ in await frames_of(house.read(log))] == [1, 2, 3]


async def test_a_queued_message_waits_for_the_database(house: House) -> None:
    log = await house.session()
    turn, stream = await answered(house, log, "a")
    waiting = await house.start(log, "second")

    def is_a_start(unit: UnitOfWork) -> bool:
        return any(
            "started_ms" in str(statement) and "UPDATE turns" in str(statement) for statement, _, _ in unit.steps
        )

    refusals = [True]
    house.database.refuses = lambda unit: is_a_start(unit) and bool(refusals and refusals.pop())
    stream.finish()
    await turn.done
    await until(lambda: house.database.refused == 1)
    assert waiting.state is TurnState.QUEUED
    assert log.is_busy
    (await house.llm.answering(2)).finish()
    assert (await waiting.done).state is TurnState.COMPLETED
    assert log.session == await row(house, log)


async def test_the_warm_session_is_what_its_row_says(house: House) -> None:
    log = await house.session()
    await house.say(log, "one", "1")
    second = await house.start(log, "two")
    third = await house.start(log, "three")
    await house.stopping.cancel(log, turn_id=third.turn_id)
    (await house.llm.answering(2)).finish()
    await second.done
    await until(lambda: not log.is_busy)
    assert log.session == await row(house, log)


async def test_text_written_before_the_end_is_not_there_twice_after_it(house: House) -> None:
    log = await house.session()
    turn, stream = await answered(house, log, "a", "b")
    house.store.journal.write(log)
    stream.think("hm")
    stream.say("c")
    await until(lambda: log.last_seq == 5)
    house.store.journal.write(log)
    stream.finish()
    await turn.done
    await house.database.submit(UnitOfWork(log.session.session_id))
    log.drop_tail()
    frames = [(number, frame["chunk"]) for number, _, frame in await frames_of(house.read(log))]
    assert frames[1:-1] == [(2, "a"), (3, "b"), (4, "hm"), (5, "c")]
