"""The outbox: which rows may be sent, and that one of several servers gets each."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Sequence
from functools import partial, reduce
from typing import Any

import pytest_asyncio

from app.storage import outbox
from app.storage.engine import dialect
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.outbox import Delivery

NOW = 1_000_000


def delivery(session_id: str, seq: int, *, url: str = "https://a.example/") -> Delivery:
    name = f"whk_{url[8]}_{session_id}_{seq}"
    return Delivery(name, url, session_id, seq, "assistant", "turn_finished", {}, False, None, NOW, NOW)


async def store(database: Database, *deliveries: Delivery) -> None:
    unit = UnitOfWork("")
    for one in deliveries:
        outbox.add(unit, one)
    await database.submit(unit)


async def due(database: Database, now_ms: int = NOW, *, without: Sequence[str] = ()) -> list[str]:
    found = await database.read(partial(outbox.due, now_ms=now_ms, without=without, limit=100))
    return [delivery_id for delivery_id, _ in found]


async def claim(database: Database, ids: Sequence[str], *, now_ms: int = NOW) -> list[Delivery]:
    unit = UnitOfWork("")
    claimed = outbox.claim(unit, ids, now_ms=now_ms, lease_ms=now_ms + 1000)
    await database.submit(unit)
    return claimed


async def test_the_first_of_each_session_and_address_is_due(database: Database) -> None:
    one, two, other = delivery("s1", 1), delivery("s1", 2), delivery("s2", 7)
    elsewhere = delivery("s1", 1, url="https://b.example/")
    await store(database, two, one, other, elsewhere)

    assert set(await due(database)) == {one.delivery_id, other.delivery_id, elsewhere.delivery_id}
    assert await due(database, without=["https://a.example/"]) == [elsewhere.delivery_id]

    (claimed,) = await claim(database, [one.delivery_id])
    assert claimed == one
    assert set(await due(database)) == {other.delivery_id, elsewhere.delivery_id}, "the second waits for the lease"
    assert one.delivery_id in await due(database, NOW + 1000), "a server that died leaves its lease to run out"

    unit = UnitOfWork("s1")
    outbox.add_delivered(unit, one, now_ms=NOW)
    await database.submit(unit)
    assert two.delivery_id in await due(database)


async def test_a_failure_makes_its_session_wait_and_an_end_of_trying_lets_it_go_on(database: Database) -> None:
    one, two = delivery("s1", 1), delivery("s1", 2)
    await store(database, one, two)
    unit = UnitOfWork("s1")
    outbox.add_retry(unit, one, due_ms=NOW + 500, problem="HTTP 500")
    await database.submit(unit)

    assert await due(database) == []
    assert await database.read(partial(outbox.next_due, now_ms=NOW)) == NOW + 500
    assert await due(database, NOW + 500) == [one.delivery_id]

    unit = UnitOfWork("s1")
    outbox.add_failed(unit, one, now_ms=NOW + 500, problem="HTTP 500")
    await database.submit(unit)
    assert await due(database, NOW + 500) == [two.delivery_id]
    counts = await database.read(outbox.counts)
    assert (counts.pending, counts.failed) == (1, 1)

    unit = UnitOfWork("")
    outbox.add_again(unit, one.delivery_id, now_ms=NOW + 900)
    await database.submit(unit)
    (again,) = await claim(database, [one.delivery_id], now_ms=NOW + 900)
    assert (again.attempts, again.since_ms, again.created_ms) == (0, NOW + 900, NOW)


@pytest_asyncio.fixture
async def on_postgres(postgres_url: str) -> AsyncIterator[Database]:
    """SQLite is for one server."""
    database = Database(postgres_url)
    await database.open(migrate=False)
    yield database
    await database.close()


async def test_of_three_servers_that_claim_the_same_rows_one_gets_each(on_postgres: Database) -> None:
    database = on_postgres
    rows = [delivery(f"s{number}", 1) for number in range(50)]
    await store(database, *rows)
    ids = [row.delivery_id for row in rows]
    barrier = asyncio.Barrier(3)

    def take(loop: asyncio.AbstractEventLoop) -> list[str]:
        engine = dialect.make_engine(database.url)
        unit = UnitOfWork("")
        claimed: list[Any] = outbox.claim(unit, ids, now_ms=NOW, lease_ms=NOW + 1000)
        with engine.begin() as connection:
            asyncio.run_coroutine_threadsafe(barrier.wait(), loop).result(10)
            unit.calls[0](connection)
        engine.dispose()
        return [one.delivery_id for one in claimed]

    loop = asyncio.get_running_loop()
    found = await asyncio.gather(*[asyncio.to_thread(take, loop) for _ in range(3)])
    assert sorted(reduce(operator.iadd, found, [])) == sorted(ids)
