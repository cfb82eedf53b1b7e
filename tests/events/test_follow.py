"""A reading: a cursor that goes from journal to tape to ring, without gap or repeat."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from app.domain.event import EventKind
from app.domain.session import SessionStatus
from app.events.follow import Reading
from app.events.journal import Journal
from app.events.log import SessionLog
from app.events.run import Run
from app.events.tape import Tape
from app.storage import events
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.clock import Clock
from tests.fixtures.events import an_event
from tests.fixtures.rows import a_session, store_session


class Room:
    """One session on a real database, and a turn written by hand."""

    def __init__(self, *, ring_bytes: int = 10_000) -> None:
        self.database = Database(None)
        self.journal = Journal(self.database, clock_ms=Clock())
        self.log = SessionLog(a_session(reserved_seq=1000), self.database, ring_bytes=ring_bytes, clock_ms=Clock())
        self.log.tape = Tape("t1")

    def say(self, *texts: str) -> None:
        self.log.append_text(EventKind.TEXT, [text.encode() for text in texts])

    async def fact(self, kind: EventKind = EventKind.DEBUG) -> Run:
        """A fact, committed and shown."""
        run = self.log.take_fact(an_event(kind, "t1"))
        unit = UnitOfWork("s1")
        events.add_fact(unit, seq=run.first, kind=kind.value, turn_id="t1", fact=run.payload, created_ms=1)
        await self.database.submit(unit)
        self.log.publish(run)
        return run

    def read(self, after: int = 0, *, lag_bytes: int = 10_000, merge: bool = True) -> Reading:
        return Reading(self.log, self.journal, after=after, lag_bytes=lag_bytes, merge=merge)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    made = Room()
    await made.database.open()
    await store_session(made.database, a_session())
    yield made
    await made.database.close()


def frames(runs: list[Run] | None) -> list[tuple[int, str]]:
    assert runs is not None
    return [(number, frame["chunk"]) for run in runs for number, frame in run.frames()]


async def test_a_reader_that_keeps_up_gets_one_frame_a_delta(room: Room) -> None:
    reading = room.read()
    room.say("a", "b")
    assert frames(reading.take()) == [(1, "a"), (2, "b")]
    assert reading.take() == []
    room.say("c")
    assert frames(reading.take()) == [(3, "c")]
    assert not reading.has_news


async def test_a_reader_from_the_middle_of_a_read_gets_the_rest_of_it(room: Room) -> None:
    room.say("a", "b", "c")
    assert frames(room.read(2).take()) == [(3, "c")]


async def test_readers_share_the_bytes(room: Room) -> None:
    room.say("a")
    one, other = room.read().take(), room.read().take()
    assert one is not None
    assert other is not None
    assert one[0] is other[0]


async def test_a_reader_that_lags_gets_merged_frames_within_its_limit(room: Room) -> None:
    reading = room.read(lag_bytes=100)
    for number in range(20):
        room.say(f"{number:02d}")
    found: list[tuple[int, str]] = []
    while runs := reading.take():
        found += frames(runs)
    assert len(found) < 20
    assert "".join([text for _, text in found]) == "".join(f"{number:02d}" for number in range(20))
    assert found[-1][0] == 20


async def test_a_reader_beyond_the_ring_that_does_not_lag_gets_one_frame_a_delta(room: Room) -> None:
    for number in range(100):
        room.say(f"{number % 10}")
    assert room.log.tail_from(0) is None
    with room.read() as reading:
        found = frames(reading.take())
    assert found[:3] == [(1, "0"), (2, "1"), (3, "2")]
    assert len(found) == 100


async def test_a_reader_that_has_read_a_turn_lets_its_tape_go(room: Room) -> None:
    tape = room.log.tape
    with room.read() as reading:
        room.say("a")
        assert frames(reading.take()) == [(1, "a")]
        room.log.tape = None
        assert reading.take() == []
        assert sys.getrefcount(tape) == 2, "this test and the count itself"


async def test_a_reader_that_wants_every_frame_gets_them_also_when_it_lags(room: Room) -> None:
    reading = room.read(lag_bytes=100, merge=False)
    for number in range(20):
        room.say(f"{number:02d}")
    found: list[tuple[int, str]] = []
    while runs := reading.take():
        found += frames(runs)
    assert found == [(number + 1, f"{number:02d}") for number in range(20)]


async def test_a_reader_that_lags_behind_the_end_of_the_turn_still_has_its_tape(room: Room) -> None:
    room.log = SessionLog(a_session(), room.database, ring_bytes=100, clock_ms=Clock())
    room.log.tape = Tape("t1")
    reading = room.read(lag_bytes=50)
    room.say("first")
    assert frames(reading.take()) == [(1, "first")]
    for _ in range(20):
        room.say("0123456789")
    room.log.tape = None
    found: list[tuple[int, str]] = []
    while runs := reading.take():
        found += frames(runs)
    assert "".join([text for _, text in found]) == "0123456789" * 20


async def test_what_ring_and_tape_have_forgotten_comes_from_the_journal(room: Room) -> None:
    first = await room.fact()
    room.log.drop_tail()
    room.log.tape = Tape("t2")
    room.say("a")
    reading = room.read()
    assert reading.take() is None
    assert [run.first for run in await reading.replay()] == [first.first]
    assert frames(reading.take()) == [(2, "a")]


async def test_a_hole_with_nothing_in_it_is_stepped_over(room: Room) -> None:
    given_up = room.log.take_fact(an_event(EventKind.DEBUG))
    room.log.take_silent()
    room.log.void(given_up)
    reading = room.read()
    assert reading.has_news
    while reading.take() is None:
        assert await reading.replay() == []
    assert (reading.cursor, reading.has_news) == (2, False)
    room.say("a")
    assert frames(reading.take()) == [(3, "a")]


async def test_a_fact_that_was_given_up_behind_the_reader_is_stepped_over(room: Room) -> None:
    room.say("a")
    reading = room.read()
    reading.take()
    given_up = room.log.take_fact(an_event(EventKind.TURN_FINISHED))
    room.log.take_silent()
    room.log.void(given_up)
    assert reading.take() == []
    assert (reading.cursor, reading.has_news) == (3, False)


async def test_a_fact_given_up_after_the_end_of_its_turn_is_not_on_a_tape_that_is_still_read(room: Room) -> None:
    reading = room.read(lag_bytes=1)
    room.say("a")
    lost = room.log.take_fact(an_event(EventKind.TURN_FINISHED))
    room.say("b")
    assert frames(reading.take()) == [(1, "a")]
    room.say("c")
    room.log.tape = None
    room.log.void(lost)
    assert frames(reading.take()) == [(3, "b")]
    assert frames(reading.take()) == [(4, "c")]


async def test_what_is_not_committed_is_not_read(room: Room) -> None:
    reading = room.read()
    fact = room.log.take_fact(an_event(EventKind.DEBUG))
    room.say("a")
    assert reading.take() == []
    room.log.publish(fact)
    assert [run.first for run in reading.take() or []] == [1, 2]


async def test_a_terminate_drops_what_was_not_sent_and_keeps_the_last_facts(room: Room) -> None:
    reading = room.read()
    room.say("never", "seen")
    room.log.over = SessionStatus.TERMINATED
    room.log.cut_at = room.log.last_seq
    last = room.log.take_fact(an_event(EventKind.SESSION_TERMINATED))
    assert reading.take() == []
    room.say("after the cut")
    room.log.publish(last)
    runs = reading.take()
    assert runs is not None
    assert runs[0].kind is EventKind.SESSION_TERMINATED


async def test_a_terminate_also_cuts_a_replay_that_is_under_way(room: Room) -> None:
    await room.fact()
    room.log.drop_tail()
    room.log.tape = Tape("t2")
    reading = room.read()
    assert reading.take() is None
    replaying = asyncio.ensure_future(reading.replay())
    await asyncio.sleep(0)
    room.log.over = SessionStatus.TERMINATED
    room.log.cut_at = room.log.last_seq
    room.log.publish(room.log.take_fact(an_event(EventKind.SESSION_TERMINATED)))
    await replaying
    assert [run.kind for run in reading.take() or []] == [EventKind.SESSION_TERMINATED]


async def test_it_sleeps_until_somebody_has_something_to_tell(room: Room) -> None:
    with room.read() as reading:
        assert room.log.readers == 1
        waiting = asyncio.ensure_future(reading.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        room.say("a")
        await waiting
        reading.notify()  # nobody waits: nothing happens
    assert room.log.readers == 0


async def test_a_reader_that_is_cancelled_while_it_sleeps_is_gone(room: Room) -> None:
    async def read() -> None:
        with room.read() as reading:
            await reading.wait()

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert room.log.readers == 0
    room.say("a")
