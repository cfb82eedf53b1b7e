"""The connection to Postgres dies: what was written is written once, and nobody is told what is not true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Connection, func, select

from app.storage import sessions, tables, usage
from app.storage.engine.database import Database
from app.storage.engine.fence import Superseded, make_fence
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.engine.writer import Writer
from tests.fixtures.eventually import eventually
from tests.fixtures.line import Fate, Line
from tests.fixtures.postgres import cut_connections
from tests.fixtures.rows import a_session

FATES: list[Fate] = ["answer is lost", "is lost", "arrives late"]


def unit(name: str) -> UnitOfWork:
    """A session, which can be created once, and a line in the ledger, which would count twice."""
    made = sessions.create(a_session(name))
    usage.add(made, principal="alice", user_id="alice", agent="a", llm="m", now_ms=0, prompt=1, completion=1)
    return made


def units(*names: str) -> list[UnitOfWork]:
    return [unit(name) for name in names]


def stored(url: str) -> tuple[set[str], int]:
    """The sessions, and how many turns the ledger has counted."""
    engine = Database(url).engine
    with engine.connect() as connection:
        names = set(connection.execute(select(tables.sessions.c.session_id)).scalars())
        counted = connection.execute(select(func.sum(tables.usage.c.turns))).scalar()
    engine.dispose()
    return names, int(counted or 0)


@asynccontextmanager
async def writer_on(url: str, *, patience_seconds: float = 5) -> AsyncIterator[Writer]:
    engine = Database(url).engine
    fence = make_fence(engine)
    assert fence is not None
    fence.take(engine)
    writer = Writer(engine, asyncio.get_running_loop(), fence=fence, patience_seconds=patience_seconds)
    try:
        yield writer
    finally:
        await writer.close()
        engine.dispose()


async def submit_all(writer: Writer, submitted: list[UnitOfWork]) -> list[BaseException | None]:
    return await asyncio.gather(*[writer.submit(unit) for unit in submitted], return_exceptions=True)


def kinds(results: list[BaseException | None]) -> list[type[BaseException] | None]:
    return [None if result is None else type(result) for result in results]


@pytest.fixture
def line(postgres_url: str) -> Iterator[Line]:
    with Line(postgres_url) as line:
        yield line


async def test_a_connection_cut_while_idle_is_replaced_and_nobody_notices(postgres_url: str) -> None:
    async with writer_on(postgres_url) as writer:
        await writer.submit(unit("a"))
        assert cut_connections(postgres_url) == 1
        assert await submit_all(writer, units("b", "c")) == [None, None]
    assert stored(postgres_url) == ({"a", "b", "c"}, 3)


async def test_a_batch_cut_in_the_middle_is_written_again_as_a_whole(postgres_url: str, line: Line) -> None:
    async with writer_on(line.url) as writer:
        await writer.submit(unit("first"))
        line.cut_at(b"INSERT INTO usage", "is lost")
        names = [f"s{number}" for number in range(32)]
        assert await submit_all(writer, units(*names)) == [None] * 32
        assert writer.batches == 2
    assert line.cuts == 1
    assert stored(postgres_url) == ({"first", *names}, 33)


@pytest.mark.parametrize("fate", FATES)
async def test_a_commit_that_goes_unanswered_is_neither_doubled_nor_lost(
    postgres_url: str, line: Line, fate: Fate
) -> None:
    async with writer_on(line.url) as writer:
        await writer.submit(unit("first"))
        line.cut_at(b"COMMIT", fate)
        names = [f"s{number}" for number in range(32)]
        assert await submit_all(writer, units(*names)) == [None] * 32
        assert kinds(await submit_all(writer, units("after", "s0"))) == [None, WriteConflict]
    assert line.cuts == 1
    assert stored(postgres_url) == ({"first", "after", *names}, 34)


@pytest.mark.parametrize("fate", FATES)
async def test_units_written_one_by_one_survive_a_lost_commit_too(postgres_url: str, line: Line, fate: Fate) -> None:
    async with writer_on(line.url) as writer:
        await writer.submit(unit("taken"))
        line.cut_at(b"COMMIT", fate)  # the batch never gets there: one of it is refused
        results = await submit_all(writer, units("a", "taken", "b", "c"))
        assert kinds(results) == [None, WriteConflict, None, None]
    assert line.cuts == 1
    assert stored(postgres_url) == ({"taken", "a", "b", "c"}, 4)


async def test_a_database_that_stays_away_is_told_after_a_while_and_then_at_once(postgres_url: str, line: Line) -> None:
    async with writer_on(line.url, patience_seconds=0.5) as writer:
        await writer.submit(unit("first"))
        line.go_down()
        begin = time.monotonic()
        results = await submit_all(writer, units("a", "b"))
        assert [type(result) for result in results] == [WriteFailed, WriteFailed]
        assert 0.4 < time.monotonic() - begin < 3
        begin = time.monotonic()
        results = await submit_all(writer, units("c"))
        assert [type(result) for result in results] == [WriteFailed]
        assert time.monotonic() - begin < 0.3
        line.is_down = False
        assert await submit_all(writer, units("a", "b", "c")) == [None] * 3
    assert stored(postgres_url) == ({"first", "a", "b", "c"}, 4)


async def test_a_database_that_comes_back_in_time_costs_its_callers_time_only(postgres_url: str, line: Line) -> None:
    async with writer_on(line.url) as writer:
        line.go_down()
        waiting = asyncio.ensure_future(submit_all(writer, units("a", "b")))
        await asyncio.sleep(0.4)
        assert not waiting.done()
        line.is_down = False
        assert await waiting == [None, None]
    assert stored(postgres_url) == ({"a", "b"}, 2)


@pytest.mark.parametrize("fate", FATES)
async def test_whoever_cannot_be_told_the_truth_waits_for_it_while_others_are_refused(
    postgres_url: str, line: Line, fate: Fate
) -> None:
    async with writer_on(line.url, patience_seconds=0.3) as writer:
        await writer.submit(unit("first"))
        line.cut_at(b"COMMIT", fate, stays_down=True)
        unknown = [writer.submit(one) for one in units("a", "b")]

        async def is_cut() -> bool:
            return line.cuts == 1

        await eventually(is_cut)
        assert [type(result) for result in await submit_all(writer, units("other"))] == [WriteFailed]
        await asyncio.sleep(1)  # nothing announces that an answer does not come
        assert not any(future.done() for future in unknown)
        line.is_down = False
        answers = await asyncio.gather(*unknown, return_exceptions=True)
        happened = fate != "is lost"
        assert [type(answer) for answer in answers] == [type(None) if happened else WriteFailed] * 2
        assert await submit_all(writer, units("after")) == [None]
    assert stored(postgres_url) == ({"first", "after", *(["a", "b"] if happened else [])}, 4 if happened else 2)


async def test_a_writer_that_closes_before_the_truth_is_known_answers_all_the_same(line: Line) -> None:
    async with writer_on(line.url, patience_seconds=0.2) as writer:
        await writer.submit(unit("first"))
        line.cut_at(b"COMMIT", "answer is lost", stays_down=True)
        unknown = writer.submit(unit("a"))
        await asyncio.sleep(0.6)
        await writer.close()
        assert isinstance(unknown.exception(), WriteFailed)


def end_own_connection(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_unit_that_kills_its_connection_is_refused_alone(postgres_url: str) -> None:
    async with writer_on(postgres_url) as writer:
        submitted = units(*[f"s{number}" for number in range(31)])
        submitted.insert(7, UnitOfWork("poison", calls=[end_own_connection]))
        results = await submit_all(writer, submitted)
        assert isinstance(results.pop(7), WriteFailed)
        assert results == [None] * 31
    assert stored(postgres_url) == ({f"s{number}" for number in range(31)}, 31)


async def test_a_server_that_was_followed_by_another_writes_no_more(postgres_url: str) -> None:
    async with writer_on(postgres_url) as old:
        await old.submit(unit("a"))
        async with writer_on(postgres_url) as new:
            await new.submit(unit("b"))
            results = await submit_all(old, units("c", "d"))
            assert [type(result) for result in results] == [Superseded, Superseded]
            assert await submit_all(new, units("e")) == [None]
    assert stored(postgres_url) == ({"a", "b", "e"}, 3)


async def test_readers_get_new_connections(postgres_url: str) -> None:
    database = Database(postgres_url, pool_size=2)
    await database.open()
    await asyncio.gather(*[database.check() for _ in range(8)])
    assert cut_connections(postgres_url) >= 1
    await asyncio.gather(*[database.check() for _ in range(8)])
    await database.close()
    assert cut_connections(postgres_url) == 0, "nothing stays open"
