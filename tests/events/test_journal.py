"""The journal: text is written behind the readers' backs, exactly once, also when the disk is full for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.domain.event import EventKind
from app.domain.session import SessionStatus
from app.events.journal import SLICES, SWEEP_SECONDS, Journal
from app.events.log import SessionLog
from app.events.tape import Tape
from app.storage import events
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.clock import Clock
from tests.fixtures.database import ControlledDatabase
from tests.fixtures.rows import a_session, a_turn, store_session, store_turn

EVERYTHING = 10**6


class Turn:
    """An open turn with its journal on a database that can be made to fail."""

    def __init__(self, database: ControlledDatabase) -> None:
        self.database = database
        self.journal = Journal(database, clock_ms=Clock())
        self.log = SessionLog(a_session(), self.database, ring_bytes=10_000, clock_ms=Clock())
        self.log.tape = Tape("t1")

    def say(self, *texts: str, kind: EventKind = EventKind.TEXT) -> None:
        self.log.append_text(kind, [text.encode() for text in texts])

    async def write(self) -> None:
        self.journal.write(self.log)
        await self.settled()

    async def settled(self) -> None:
        """Everything handed over so far is answered."""
        await self.database.submit(_nothing())

    async def rows(self) -> list[tuple[int, int, str]]:
        found = await self.database.read(
            lambda connection: events.runs_after(connection, "s1", after=0, upto=EVERYTHING, limit=500)
        )
        return [(run.first, run.last, run.text) for run in found]

    async def text(self) -> str:
        return await self.database.read(
            lambda connection: events.text_of_turn(connection, "s1", "t1", after=0, upto=EVERYTHING)
        )


def _nothing() -> UnitOfWork:
    return UnitOfWork("s1")


@pytest.fixture
async def turn(database_url: str) -> AsyncIterator[Turn]:
    database = ControlledDatabase(database_url)
    await database.open()
    await store_session(database, a_session())
    await store_turn(database, a_turn())
    yield Turn(database)
    await database.close()


async def test_each_sweep_writes_what_is_new(turn: Turn) -> None:
    turn.say("Hel", "lo")
    await turn.write()
    await turn.write()
    turn.say(", wörld€")
    await turn.write()
    assert await turn.rows() == [(1, 2, "Hello"), (3, 3, ", wörld€")]


async def test_thinking_is_written_beside_the_text(turn: Turn) -> None:
    turn.say("hm", kind=EventKind.THINKING)
    turn.say("yes")
    await turn.write()
    assert await turn.rows() == [(1, 1, "hm"), (2, 2, "yes")]
    assert await turn.text() == "yes"


async def test_what_could_not_be_written_is_written_by_a_later_sweep(turn: Turn) -> None:
    turn.database.refuses = lambda unit: bool(unit.steps)
    turn.say("a", "b")
    await turn.write()
    turn.say("c")
    await turn.write()
    assert await turn.rows() == []
    turn.database.refuses = None
    turn.say("d")
    await turn.write()
    assert await turn.rows() == [(1, 4, "abcd")]


async def test_a_slow_disk_gets_no_text_twice(turn: Turn) -> None:
    """Two sweeps pass while the first batch hangs; then it fails, and a later one would have stood."""
    turn.database.hold()
    turn.say("a", "b")
    turn.journal.write(turn.log)
    turn.say("c")
    turn.journal.write(turn.log)
    refused: list[UnitOfWork] = []

    def refuse_the_first(unit: UnitOfWork) -> bool:
        if refused or not unit.steps:
            return False
        refused.append(unit)
        return True

    turn.database.refuses = refuse_the_first
    turn.database.let_go()
    await turn.settled()
    turn.say("d")
    await turn.write()
    await turn.write()
    assert await turn.text() == "abcd"


async def test_a_session_that_is_over_writes_nothing_more(turn: Turn) -> None:
    turn.say("a")
    turn.log.over = SessionStatus.TERMINATED
    await turn.write()
    assert await turn.rows() == []


async def test_every_open_turn_is_written_within_the_promised_time(turn: Turn) -> None:
    logs = []
    for number in range(9):
        name = f"s{number + 2}"
        await store_session(turn.database, a_session(name))
        await store_turn(turn.database, a_turn(f"{name}-t", name))
        log = SessionLog(a_session(name), turn.database, ring_bytes=1000, clock_ms=Clock())
        log.tape = Tape(f"{name}-t")
        log.append_text(EventKind.TEXT, [b"x"])
        turn.journal.follow(log)
        logs.append(log)
    sweeping = asyncio.ensure_future(turn.journal.run())
    await asyncio.sleep(SWEEP_SECONDS + SWEEP_SECONDS / SLICES)
    assert [segment.journaled for log in logs if log.tape for segment in log.tape.segments()] == [1] * 9
    turn.journal.unfollow(logs[0])
    for log in logs:
        log.append_text(EventKind.TEXT, [b"y"])
    await asyncio.sleep(SWEEP_SECONDS + SWEEP_SECONDS / SLICES)
    sweeping.cancel()
    written = [segment.journaled for log in logs if log.tape for segment in log.tape.segments()]
    assert written == [1] + [2] * 8


async def test_replay_gives_back_deltas_with_their_numbers(turn: Turn) -> None:
    turn.say("Grüße", " an", "\nalle €")
    await turn.write()
    runs = await turn.journal.replay("s1", after=1, upto=3)
    assert [(number, frame) for run in runs for number, frame in run.frames()] == [
        (2, {"chunk": " an"}),
        (3, {"chunk": "\nalle €"}),
    ]


async def test_expiry_that_fails_is_tried_again_another_time(turn: Turn) -> None:
    turn.database.refuses = lambda unit: True
    await turn.journal.expire(retention_ms=0)
    assert turn.database.refused == 1
