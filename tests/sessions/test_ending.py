"""Endings: by wish, by idleness, by age; never in the middle of a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.errors import SessionOver, Unavailable
from app.domain.session import SessionStatus
from app.events.log import SessionLog
from app.sessions import ending
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.clock import Clock
from tests.fixtures.house import ALICE, House, frames_of, until
from tests.fixtures.rows import count_rows


@pytest.fixture
async def timed(tmp_path: Path) -> AsyncIterator[House]:
    """Sessions expire after a minute without a message, or after an hour."""
    house = House(tmp_path / "hector.db", clock=Clock(), timeout="60s", max_duration="1h")
    await house.open()
    yield house
    await house.close()


async def kinds(house: House, log: SessionLog) -> list[str]:
    return [kind for _, kind, _ in await frames_of(house.read(log))]


async def test_an_ended_session_is_over_at_once_and_stays_readable(house: House) -> None:
    log = await house.session("mine")
    await house.say(log, "Hi", "Hello")
    await house.endings.end(log)
    assert (log.session.status, log.is_over) == (SessionStatus.ENDED, True)
    assert (await frames_of(house.read(log)))[-1][2] == {"chunk": "", "type": "session_ended", "session_id": "mine"}
    house.live.remove("mine")
    cold = await house.sessions.get(ALICE, "assistant", "mine")
    assert cold.session == log.session
    assert cold.is_over
    with pytest.raises(SessionOver) as caught:
        await house.start(cold)
    assert caught.value.reason == "session_ended"


async def test_a_second_end_changes_nothing(house: House) -> None:
    log = await house.session()
    await asyncio.gather(*[house.endings.end(log) for _ in range(3)], house.endings.expire(log))
    ended = log.session
    await house.endings.end(log)
    assert log.session == ended
    assert await kinds(house, log) == ["session_ended"]


async def test_an_end_that_cannot_be_written_has_not_happened(house: House) -> None:
    log = await house.session()
    house.database.refuses = lambda unit: True
    with pytest.raises(Unavailable):
        await house.endings.end(log)
    house.database.refuses = None
    assert (log.session.status, log.session.ending) == (SessionStatus.ACTIVE, None)
    await house.say(log, "Hi", "Hello")
    await house.endings.end(log)
    assert (await kinds(house, log))[-1] == "session_ended"


async def test_a_wish_to_end_that_cannot_be_written_has_not_happened(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    house.database.refuses = lambda unit: True
    with pytest.raises(Unavailable):
        await house.endings.end(log)
    house.database.refuses = None
    (await house.llm.answering()).finish()
    await turn.done
    await house.say(log, "again", "yes")
    assert log.session.status is SessionStatus.ACTIVE


async def test_the_end_after_the_last_turn_is_tried_again_by_a_later_sweep(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    await house.endings.end(log)
    house.database.refuses = lambda unit: "session_ended" in str([row for _, row, _ in unit.steps])
    (await house.llm.answering()).finish()
    await turn.done
    await until(lambda: house.database.refused > 0)
    assert log.session.ending is SessionStatus.ENDED
    house.database.refuses = None
    await house.endings.settle()
    await until(lambda: log.is_over)


async def test_an_idle_session_expires_and_only_then(timed: House) -> None:
    log = await timed.session()
    assert timed.endings.expires_ms(log.session) == log.session.created_ms + 60_000
    timed.clock.advance(59.9)
    assert await timed.endings.expire_due() == 0
    timed.clock.advance(0.2)
    assert await timed.endings.expire_due() == 1
    assert log.session.status is SessionStatus.EXPIRED
    assert timed.endings.expires_ms(log.session) is None
    frames = await frames_of(timed.read(log))
    assert (frames[-1][1], frames[-1][2]["reason"]) == ("session_ended", "expired")
    with pytest.raises(SessionOver) as caught:
        await timed.start(log)
    assert caught.value.reason == "session_expired"


async def test_looking_it_up_expires_it_without_a_sweep(timed: House) -> None:
    await timed.session("mine")
    timed.clock.advance(61)
    log = await timed.sessions.get(ALICE, "assistant", "mine")
    assert log.session.status is SessionStatus.EXPIRED


async def test_a_message_and_the_end_of_a_turn_count_as_activity(timed: House) -> None:
    log = await timed.session()
    timed.clock.advance(50)
    turn = await timed.start(log)
    timed.clock.advance(50)
    (await timed.llm.answering()).finish()
    await turn.done
    await until(lambda: not log.is_busy)
    timed.clock.advance(50)
    await timed.endings.expire_due()
    before = log.session.status
    timed.clock.advance(11)
    await timed.endings.expire_due()
    assert (before, log.session.status) == (SessionStatus.ACTIVE, SessionStatus.EXPIRED)


async def test_a_session_with_a_turn_is_never_idle(timed: House) -> None:
    log = await timed.session("mine")
    running = await timed.start(log, "running")
    waiting = await timed.start(log, "waiting")
    timed.clock.advance(600)
    await timed.endings.expire_due()
    await timed.sessions.get(ALICE, "assistant", "mine")
    assert (log.session.status, log.session.ending) == (SessionStatus.ACTIVE, None)
    for number in (1, 2):
        (await timed.llm.answering(number)).finish()
    await asyncio.gather(running.done, waiting.done)


async def test_an_old_session_takes_no_more_messages_but_its_turn_is_not_cut(timed: House) -> None:
    log = await timed.session()
    turn = await timed.start(log)
    timed.clock.advance(3601)
    await timed.endings.expire_due()
    assert (log.session.status, log.session.ending) == (SessionStatus.ACTIVE, SessionStatus.EXPIRED)
    with pytest.raises(SessionOver) as caught:
        await timed.start(log)
    assert caught.value.reason == "session_expired"
    stream = await timed.llm.answering()
    stream.say("whole")
    stream.finish()
    assert (await turn.done).text == "whole"
    await until(lambda: log.is_over)
    assert log.session.status is SessionStatus.EXPIRED


async def test_without_limits_nothing_expires(house: House) -> None:
    log = await house.session()
    house.clock.advance(10**6)
    assert await house.endings.expire_due() == 0
    assert house.endings.expires_ms(log.session) is None


async def test_a_sweep_takes_so_many_sessions_and_the_next_one_goes_on(timed: House) -> None:
    for _ in range(5):
        await timed.session()
    timed.clock.advance(61)
    assert [await timed.endings.expire_due(limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_an_ephemeral_session_fades_after_its_last_turn_and_tells_its_readers(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "EPHEMERAL_SECONDS", 0.02)
    log = await house.sessions.one_shot(ALICE, "assistant", None)
    with house.read(log) as reading:
        turn = await house.start(log)
        await asyncio.sleep(0.05)
        assert not turn.done.done(), "not while a turn runs"
        (await house.llm.answering()).finish()
        await turn.done
        await until(lambda: log.is_over)
        assert (await frames_of(reading))[-1][1] == "session_ended"
    assert house.live.peek(log.session.session_id) is None
    await house.memory.submit(UnitOfWork(log.session.session_id))
    assert await count_rows(house.memory, log.session.session_id) == {}


async def test_nobody_is_told_that_a_session_has_ended_before_that_is_stored(house: House) -> None:
    log = await house.session("mine")
    house.database.hold()
    ending_it = [asyncio.ensure_future(house.endings.end(log)) for _ in range(2)]
    await until(lambda: house.database.held == 1)
    asking = asyncio.ensure_future(house.sessions.get(ALICE, "assistant", "mine"))
    await asyncio.sleep(0.01)
    assert not asking.done()
    house.database.fail_held()
    results = await asyncio.gather(*ending_it, return_exceptions=True)
    assert isinstance(results[0], Unavailable)
    assert results[1] is None, "the second found it active again and ended it"
    assert (await asking).session.status is SessionStatus.ENDED
