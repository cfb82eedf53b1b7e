"""Warm sessions: opened once, kept while somebody needs them, dropped in the order of their last use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.domain.errors import Unavailable
from app.domain.event import EventKind
from app.events.live import IN_USE_SECONDS, LiveSessions, Store
from app.events.log import SESSION_BYTES, SessionLog, StopOrder
from app.events.tape import Tape
from tests.fixtures.clock import Clock
from tests.fixtures.database import ControlledDatabase
from tests.fixtures.events import an_event
from tests.fixtures.rows import a_session, store_session

LIMIT = 10


class Heavy:
    """A desk with a long history."""

    weight = 5 * SESSION_BYTES

    def readers_changed(self) -> None: ...

    def order_stop(self) -> StopOrder:
        raise AssertionError("nobody terminates")


class Bell:
    def notify(self) -> None: ...

    def cut(self) -> None: ...


@pytest.fixture
async def live() -> AsyncIterator[LiveSessions]:
    durable, ephemeral = ControlledDatabase(None), ControlledDatabase(None)
    await durable.open()
    await ephemeral.open()
    clock = Clock()
    yield LiveSessions(Store(durable, clock_ms=clock), Store(ephemeral, clock_ms=clock), limit=LIMIT, clock_ms=clock)
    await durable.close()
    await ephemeral.close()


def old(live: LiveSessions, name: str, **changes: bool) -> SessionLog:
    """A warm session that was last used a while ago."""
    log = live.add(a_session(name, **changes))
    log.used_clock -= IN_USE_SECONDS + 1
    return log


async def test_a_session_is_read_once_however_many_ask(live: LiveSessions) -> None:
    await store_session(live.durable.database, a_session())
    logs = await asyncio.gather(*[live.open("s1") for _ in range(5)])
    assert logs[0] is not None
    assert all(log is logs[0] for log in logs)
    assert live.warm("s1") is logs[0]


async def test_one_that_asks_and_leaves_does_not_take_it_from_the_others(live: LiveSessions) -> None:
    await store_session(live.durable.database, a_session())
    leaving, staying = asyncio.ensure_future(live.open("s1")), asyncio.ensure_future(live.open("s1"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying is not None


async def test_there_is_nothing_under_an_unknown_id(live: LiveSessions) -> None:
    assert await live.open("nobody") is None
    assert live.warm("nobody") is None
    await store_session(live.durable.database, a_session("nobody"))
    assert await live.open("nobody") is not None, "that it was not there is not remembered"


async def test_a_database_that_does_not_answer_is_not_remembered_either(live: LiveSessions) -> None:
    await live.durable.database.close()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await live.open("s1")


async def test_a_session_just_made_is_not_replaced_by_its_row(live: LiveSessions) -> None:
    await store_session(live.durable.database, a_session())
    opening = asyncio.ensure_future(live.open("s1"))
    await asyncio.sleep(0)
    made = live.add(a_session())
    assert await opening is made


async def test_the_longest_unused_are_dropped(live: LiveSessions) -> None:
    for number in range(LIMIT):
        old(live, f"s{number}")
    used = live.warm("s0")
    assert used is not None
    used.used_clock -= IN_USE_SECONDS + 1
    old(live, "one more")
    assert live.peek("s0") is used
    assert live.peek("s1") is None
    assert live.peek("one more") is not None
    assert len(live.all()) <= LIMIT


async def test_what_is_needed_stays(live: LiveSessions) -> None:
    read, running, busy, pinned = [old(live, name) for name in ("read", "running", "busy", "pinned")]
    committing = old(live, "committing")
    old(live, "ephemeral", ephemeral=True)
    read.enter(Bell())
    running.tape = Tape("t1")
    busy.is_busy = True
    pinned.is_pinned = True
    fact = committing.take_fact(an_event(EventKind.DEBUG))
    for number in range(3 * LIMIT):
        old(live, f"s{number}")
    assert {"read", "running", "busy", "pinned", "committing", "ephemeral"} <= {
        log.session.session_id for log in live.all()
    }
    assert len(live.all()) <= 2 * LIMIT
    committing.void(fact)


async def test_what_was_just_used_stays_too(live: LiveSessions) -> None:
    for number in range(2 * LIMIT):
        live.add(a_session(f"s{number}"))
    assert len(live.all()) == 2 * LIMIT


async def test_ephemeral_sessions_have_a_store_of_their_own(live: LiveSessions) -> None:
    assert live.store_of(live.add(a_session("a", ephemeral=True))) is live.ephemeral
    assert live.store_of(live.add(a_session("b"))) is live.durable
    live.remove("a")
    assert live.peek("a") is None
    live.remove("a")


async def test_those_at_rest_take_no_more_memory_than_they_may(live: LiveSessions) -> None:
    live = LiveSessions(live.durable, live.ephemeral, max_bytes=10 * SESSION_BYTES, clock_ms=Clock())
    for number in range(9):
        old(live, f"s{number}").rest()
    assert live.bytes == 9 * SESSION_BYTES
    used = live.warm("s0")
    assert used is not None
    used.used_clock -= IN_USE_SECONDS + 1
    old(live, "large").desk = Heavy()
    large = live.peek("large")
    assert large is not None
    large.rest()
    assert live.peek("s0") is used
    assert live.peek("large") is large
    assert [live.peek(f"s{number}") for number in range(1, 5)] == [None] * 4, "the longest unused make room"
    assert live.bytes <= 10 * SESSION_BYTES
    large.rest()
    live.remove("large")
    assert live.bytes == SESSION_BYTES * len(live.all())


async def test_memory_that_is_in_use_is_not_looked_through_again_and_again(live: LiveSessions) -> None:
    live = LiveSessions(live.durable, live.ephemeral, max_bytes=SESSION_BYTES, clock_ms=Clock())
    for number in range(20):
        live.add(a_session(f"s{number}")).rest()
    assert len(live.all()) == 20
    assert live.bytes == 20 * SESSION_BYTES
