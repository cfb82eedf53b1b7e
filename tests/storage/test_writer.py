"""The writer: what gathers travels together, what fails falls alone, and everybody gets an answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, bindparam, create_engine, event, insert, select, update

from app.storage import tables
from app.storage.engine.database import Database
from app.storage.engine.fence import make_fence
from app.storage.engine.unit_of_work import UnitOfWork, Unwritable, WriteConflict, WriteFailed
from app.storage.engine.writer import MAX_BATCH, Writer

_t = tables.settings
PUT = insert(_t)
SWAP = (
    update(_t).where(_t.c.name == bindparam("the_name"), _t.c.value == bindparam("old")).values(value=bindparam("new"))
)


def put(name: str, value: bytes = b"", session_id: str = "") -> UnitOfWork:
    unit = UnitOfWork(session_id or name)
    unit.add(PUT, {"name": name, "value": value})
    return unit


def swap(name: str, old: bytes, new: bytes) -> UnitOfWork:
    """Refused unless the value is `old`."""
    unit = UnitOfWork(name)
    unit.add(SWAP, {"the_name": name, "old": old, "new": new}, expect=1)
    return unit


def call(session_id: str, work: Callable[[Connection], object]) -> UnitOfWork:
    return UnitOfWork(session_id, calls=[work])


@pytest.fixture
def engine(database_url: str) -> Engine:
    return Database(database_url).engine


@pytest.fixture
def file_engine(tmp_path: Path) -> Engine:
    engine = Database(f"sqlite:///{tmp_path}/writer.db").engine
    tables.metadata.create_all(engine)
    return engine


@asynccontextmanager
async def writer_on(engine: Engine) -> AsyncIterator[Writer]:
    fence = make_fence(engine)
    if fence is not None:
        fence.take(engine)
    writer = Writer(engine, asyncio.get_running_loop(), fence=fence)
    try:
        yield writer
    finally:
        await writer.close()
        engine.dispose()


def stored(engine: Engine) -> dict[str, bytes]:
    with engine.connect() as connection:
        return {row.name: row.value for row in connection.execute(select(_t).where(_t.c.name != "writer"))}


async def submit_all(writer: Writer, units: list[UnitOfWork]) -> list[BaseException | None]:
    return await asyncio.gather(*[writer.submit(unit) for unit in units], return_exceptions=True)


class Plug:
    """A unit that keeps the writer's thread busy until it is pulled."""

    def __init__(self) -> None:
        self._pulled = threading.Event()
        self._reached = threading.Event()
        self.unit = call("plug", self._wait)

    def _wait(self, _connection: Connection) -> None:
        self._reached.set()
        assert self._pulled.wait(10)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)

    def pull(self) -> None:
        self._pulled.set()


async def test_units_of_one_tick_travel_in_one_batch(engine: Engine) -> None:
    async with writer_on(engine) as writer:
        await submit_all(writer, [put(f"u{number}") for number in range(100)])
        assert (writer.batches, writer.units) == (1, 100)


async def test_what_comes_while_the_writer_is_busy_gathers(engine: Engine) -> None:
    plug = Plug()
    async with writer_on(engine) as writer:
        plugged = writer.submit(plug.unit)
        await plug.reached()
        waiting = []
        for number in range(20):
            waiting.append(writer.submit(put(f"u{number}")))
            await asyncio.sleep(0)
        plug.pull()
        await asyncio.gather(plugged, *waiting)
        assert (writer.batches, writer.units) == (2, 21)


async def test_a_batch_has_a_bound_and_all_of_it_is_written(engine: Engine) -> None:
    plug = Plug()
    async with writer_on(engine) as writer:
        plugged = writer.submit(plug.unit)
        await plug.reached()
        waiting = []
        for number in range(MAX_BATCH * 2):
            waiting.append(writer.submit(put(f"u{number}")))
            await asyncio.sleep(0)
        plug.pull()
        await asyncio.gather(plugged, *waiting)
        assert writer.batches == 3
        assert len(stored(engine)) == MAX_BATCH * 2


def too_large(_connection: Connection) -> None:
    raise OverflowError("Python int too large to convert to SQLite INTEGER")


BAD: dict[str, tuple[Callable[[], UnitOfWork], type[Exception]]] = {
    "a condition that does not hold": (lambda: swap("nothing", b"", b"x"), WriteConflict),
    "a key that is taken": (lambda: put("taken"), WriteConflict),
    "a statement the database refuses": (
        lambda: call("bad", lambda connection: connection.exec_driver_sql("SELECT * FROM nowhere")),
        WriteFailed,
    ),
    "a value the driver refuses": (lambda: put("bad", value="\ud800"), WriteFailed),  # type: ignore[arg-type]
    "an error that is not the database's": (lambda: call("bad", too_large), WriteFailed),
    "a parameter that is missing": (lambda: UnitOfWork("bad", [(SWAP, {}, 1)]), WriteFailed),
}


@pytest.mark.parametrize("place", [0, 20])
@pytest.mark.parametrize("name", BAD)
async def test_one_bad_unit_among_32_is_refused_alone(engine: Engine, name: str, place: int) -> None:
    make, kind = BAD[name]
    async with writer_on(engine) as writer:
        await writer.submit(put("taken"))
        units = [put(f"u{number}") for number in range(31)]
        units.insert(place, make())
        results = await submit_all(writer, units)
        assert isinstance(results.pop(place), kind)
        assert results == [None] * 31
        assert set(stored(engine)) == {"taken", *[f"u{number}" for number in range(31)]}


async def test_nothing_of_a_refused_unit_is_written(engine: Engine) -> None:
    async with writer_on(engine) as writer:
        unit = put("first")
        unit.add(SWAP, {"the_name": "nothing", "old": b"", "new": b""}, expect=1)
        with pytest.raises(WriteConflict):
            await writer.submit(unit)
        assert stored(engine) == {}


async def test_a_unit_that_counts_on_a_refused_one_is_refused_too(engine: Engine) -> None:
    async with writer_on(engine) as writer:
        results = await submit_all(writer, [put("a", b"0"), swap("a", b"1", b"2"), swap("a", b"2", b"3")])
        assert [type(result) for result in results] == [type(None), WriteConflict, WriteConflict]
        assert stored(engine) == {"a": b"0"}


@settings(max_examples=25, deadline=None)
@given(order=st.lists(st.sampled_from("abcd"), max_size=60), data=st.data())
def test_units_of_one_session_keep_their_order_inside_a_batch(order: list[str], data: st.DataObject) -> None:
    """Each unit swaps the value the one before has left; a wrong one falls out, and only that one."""
    engine = create_engine("sqlite://", poolclass=_one_connection(), connect_args={"check_same_thread": False})
    tables.metadata.create_all(engine)
    heights = dict.fromkeys("abcd", 0)
    units, wrong = [put(name, b"0") for name in heights], set()
    for name in order:
        if data.draw(st.integers(0, 9)) == 0:
            wrong.add(len(units))
            units.append(swap(name, b"never", b"seen"))
        else:
            units.append(swap(name, b"%d" % heights[name], b"%d" % (heights[name] + 1)))
            heights[name] += 1

    async def run() -> list[BaseException | None]:
        writer = Writer(engine, asyncio.get_running_loop())
        results = await submit_all(writer, units)
        assert writer.batches == 1
        await writer.close()
        return results

    results = asyncio.run(run())
    assert {place for place, result in enumerate(results) if result is not None} == wrong
    assert stored(engine) == {name: b"%d" % height for name, height in heights.items()}
    engine.dispose()


def _one_connection() -> Any:
    from sqlalchemy.pool import StaticPool

    return StaticPool


async def test_a_full_disk_answers_every_caller_and_the_writer_lives_on(file_engine: Engine) -> None:
    @event.listens_for(file_engine, "connect")
    def _limit(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # what is there stays; nothing can be added

    async with writer_on(file_engine) as writer:
        results = await submit_all(writer, [put(f"u{number}", b"x" * 5000) for number in range(8)])
        assert [type(result) for result in results] == [WriteFailed] * 8
        assert "full" in str(results[0])
        await writer.submit(call("", lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 9999")))
        assert await submit_all(writer, [put(f"u{number}", b"x" * 5000) for number in range(8)]) == [None] * 8
        assert len(stored(file_engine)) == 8


async def test_a_lost_connection_answers_every_caller_and_is_replaced(file_engine: Engine) -> None:
    def lose(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM settings WHERE name = 'nothing'")
        connection.connection.driver_connection.close()  # type: ignore[union-attr]

    async with writer_on(file_engine) as writer:
        results = await submit_all(writer, [put("a"), call("b", lose), put("c")])
        assert [type(result) for result in results] == [type(None), WriteFailed, type(None)]
        assert await submit_all(writer, [put("d")]) == [None]
        assert set(stored(file_engine)) == {"a", "c", "d"}


async def test_a_database_that_cannot_be_connected_answers_every_caller(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/no/such/folder.db")
    async with writer_on(engine) as writer:
        results = await submit_all(writer, [put("a"), put("b")])
        assert [type(result) for result in results] == [WriteFailed, WriteFailed]


async def test_a_caller_that_went_away_does_not_decide_about_its_neighbours(engine: Engine) -> None:
    async with writer_on(engine) as writer:
        gone, stayed = writer.submit(put("a")), writer.submit(put("b"))
        gone.cancel()
        await stayed
        assert set(stored(engine)) == {"a", "b"}


async def test_close_commits_what_was_submitted(engine: Engine) -> None:
    async with writer_on(engine) as writer:
        waiting = [writer.submit(put(f"u{number}")) for number in range(10)]
        await writer.close()
        assert [future.result() for future in waiting] == [None] * 10
        assert len(stored(engine)) == 10


async def test_a_closed_writer_refuses(engine: Engine) -> None:
    async with writer_on(engine) as writer:
        await writer.close()
        with pytest.raises(WriteFailed, match="closed"):
            await writer.submit(put("late"))
        await writer.close()


@pytest.mark.parametrize("value", [2**70, [1], object(), "\ud800"], ids=["too large", "list", "object", "surrogate"])
async def test_a_unit_with_a_value_that_no_database_takes_is_told_from_one_that_has_to_wait(
    engine: Engine, value: object
) -> None:
    row = {
        "principal": "p",
        "user_id": "u",
        "agent": "a",
        "llm": "m",
        "day": 1,
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    async with writer_on(engine) as writer:
        unit = UnitOfWork("a")
        unit.add(insert(tables.usage), row | {"turns": value})
        results = await submit_all(writer, [put("x"), unit, put("y")])
        assert [type(result) for result in results] == [type(None), Unwritable, type(None)]
        assert not writer.is_failing
    assert stored(engine) == {"x": b"", "y": b""}


async def test_a_commit_is_announced_to_those_who_wait_for_one(engine: Engine) -> None:
    async with writer_on(engine) as writer:
        waiting = writer.next_commit()
        await submit_all(writer, [swap("nothing", b"", b"")])
        assert not waiting.done()
        await writer.submit(put("a"))
        await asyncio.wait_for(waiting, 5)
        assert not writer.next_commit().done()
