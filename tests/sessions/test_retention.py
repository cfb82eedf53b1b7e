"""Sessions that were over for long enough are deleted, with everything of theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import Connection, Select, func, select

from app.config.server import SessionsConfig
from app.domain.memory import Owner, Scope
from app.domain.session import SessionStatus
from app.events import live
from app.events.log import SessionLog
from app.memory.longterm import Saying
from app.sessions.ending import Endings
from app.storage import tables
from app.storage.memories import Removed
from app.turns.memory import owner_of
from tests.fixtures.house import House

DAY_SECONDS = 86_400


@pytest.fixture
async def house(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    # A session counts as in use for some seconds after a request; here it is unused at once.
    monkeypatch.setattr(live, "IN_USE_SECONDS", 0.0)
    opened = House(url=database_url, retention="30d")
    await opened.open()
    yield opened
    await opened.close()


class NoObserver:
    """For a part that is looked at alone."""

    def session_over(self, log: SessionLog) -> None: ...

    async def before_erasure(self, log: SessionLog, *, forget_all: bool) -> None: ...

    def session_erased(self, removed: Removed) -> None: ...


async def over(house: House, session_id: str, status: SessionStatus = SessionStatus.ENDED) -> SessionLog:
    log = await house.session(session_id)
    await house.say(log, "Hello", "Hi")
    await (house.endings.end(log) if status is SessionStatus.ENDED else house.endings.expire(log))
    return log


async def rows_of(house: House, session_id: str) -> int:
    found = 0
    for table in (tables.sessions, tables.turns, tables.messages, tables.events, tables.runs):
        query = select(func.count()).select_from(table).where(table.c.session_id == session_id)
        found += await house.database.read(partial(count, query=query))
    return found


def count(connection: Connection, query: Select[int]) -> int:
    return connection.execute(query).one()[0]


@pytest.mark.parametrize("status", [SessionStatus.ENDED, SessionStatus.EXPIRED])
async def test_a_session_that_is_over_for_longer_than_the_retention_is_deleted(
    house: House, status: SessionStatus
) -> None:
    await over(house, "old", status)
    house.clock.advance(31 * DAY_SECONDS)

    assert await house.endings.delete_old() == 1
    assert await rows_of(house, "old") == 0
    assert house.live.peek("old") is None


async def test_a_session_that_is_over_for_a_shorter_time_or_still_active_stays(house: House) -> None:
    active = await house.session("active")
    await house.say(active, "Hello", "Hi")
    house.clock.advance(40 * DAY_SECONDS)
    await over(house, "young")
    house.clock.advance(29 * DAY_SECONDS)

    assert await house.endings.delete_old() == 0
    assert await rows_of(house, "young") > 0
    assert await rows_of(house, "active") > 0


async def test_without_a_retention_nothing_is_deleted(house: House) -> None:
    await over(house, "old")
    house.clock.advance(10_000 * DAY_SECONDS)

    endings = Endings(house.live, NoObserver(), SessionsConfig(), clock_ms=house.clock)
    assert await endings.delete_old() == 0


async def test_the_id_of_a_deleted_session_is_free_again(house: House) -> None:
    await over(house, "old")
    house.clock.advance(31 * DAY_SECONDS)
    await house.endings.delete_old()

    log = await house.session("old")
    assert log.session.status is SessionStatus.ACTIVE
    assert await house.texts(log) == []


async def test_who_takes_a_deleted_id_is_not_told_what_that_session_remembered(house: House) -> None:
    log = await over(house, "old")
    await house.longterm.remember(owner_of(log.session), Scope.SESSION, [Saying("user", "alice", "a fact", 1000)])
    house.clock.advance(31 * DAY_SECONDS)
    await house.endings.delete_old()

    stranger = Owner("assistant", "bob", "bob", "old")
    assert (await house.longterm.recall("fact", owner=stranger, scope=Scope.SESSION)).hits == ()


async def test_a_session_that_somebody_reads_is_left_for_later(house: House) -> None:
    log = await over(house, "old")
    house.clock.advance(31 * DAY_SECONDS)
    with house.read(log):
        assert await house.endings.delete_old() == 0

    assert await house.endings.delete_old() == 1


async def test_what_it_used_stays_in_the_ledger(house: House) -> None:
    await over(house, "old")
    house.clock.advance(31 * DAY_SECONDS)
    await house.endings.delete_old()

    turns = await house.database.read(
        lambda connection: connection.execute(select(tables.usage.c.turns)).scalars().all()
    )
    assert turns == [1]
