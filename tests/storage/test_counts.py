"""Counts that an earlier release took from a provider and stored: reading and adding to them does no harm."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import text

from app.doors.schemas.sessions import session_json
from app.storage import sessions, turns, usage
from app.storage.counts import MOST_TOKENS, read_count
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.rows import a_session, a_turn, store_session, store_turn

LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (7, 7),
        (0, 0),
        (-5_000_000, 0),
        (LARGEST, MOST_TOKENS),
        (1.8e19, MOST_TOKENS),
        (float("inf"), MOST_TOKENS),
        (float("nan"), 0),
        (2.5, 2),
        ("x", 0),
        ("7", 0),
        (None, 0),
        ([1], 0),
        ({}, 0),
    ],
)
def test_a_stored_count_is_a_number_of_tokens(stored: object, read: int) -> None:
    assert read_count(stored) == read


async def write(database: Database, statement: str, **values: Any) -> None:
    unit = UnitOfWork("s1")
    unit.calls.append(lambda connection: connection.execute(text(statement), values))
    await database.submit(unit)


def counts(database: Database) -> list[Any]:
    is_sqlite = database.engine.dialect.name == "sqlite"
    return [LARGEST, -5, *([1.8e19, "x", float("inf")] if is_sqlite else [])]


async def test_sessions_with_strange_counts_are_listed_and_go_on(database: Database) -> None:
    await store_session(database, a_session())
    for count in counts(database):
        await write(database, "UPDATE sessions SET prompt_tokens = :count, completion_tokens = :count", count=count)
        found = await database.read(lambda connection: sessions.find(connection, "s1"))
        assert found is not None
        shown = orjson.loads(orjson.dumps(session_json(found, expires_ms=None)))
        assert 0 <= shown["usage"]["total_tokens"] <= 2 * MOST_TOKENS
        unit = UnitOfWork("s1")
        sessions.add_change(unit, now=1, last=1, reserved=1, prompt=3, completion=4)
        await database.submit(unit)
        found = await database.read(lambda connection: sessions.find(connection, "s1"))
        assert found is not None
        assert (found.prompt_tokens, found.completion_tokens) == (3, 4)


async def test_a_ledger_with_strange_counts_is_summed_up_and_added_to(database: Database) -> None:
    def entry(llm: str) -> UnitOfWork:
        unit = UnitOfWork("")
        usage.add(unit, principal="alice", user_id="alice", agent="a", llm=llm, now_ms=0, prompt=3, completion=4)
        return unit

    strange = counts(database)
    for number, count in enumerate([*strange, strange[0]]):
        await database.submit(entry(f"m{number}"))
        statement = "UPDATE usage SET prompt_tokens = :count, completion_tokens = :count WHERE llm = :llm"
        await write(database, statement, count=count, llm=f"m{number}")

    async def sums(by: usage.By) -> list[usage.UsageRow]:
        return await database.read(
            lambda connection: usage.sums(
                connection, principal="alice", user_id=None, by=by, first_day=None, last_day=None
            )
        )

    for by in ("day", "user", "agent"):
        assert all(row.prompt_tokens == row.completion_tokens == 0 for row in await sums(by))
    await database.submit(entry("m0"))
    assert [row.prompt_tokens for row in await sums("day") if row.llm == "m0"] == [3]


async def test_turns_with_strange_counts_are_read(database: Database) -> None:
    await store_session(database, a_session())
    await store_turn(database, a_turn())
    strange = [LARGEST, 2**64 - 1, "x", True, [1], None, -1, 1e300]
    for stored in [
        *[{"prompt_tokens": count, "completion_tokens": count, "source": "provider"} for count in strange],
        [],
        {},
    ]:
        await write(database, "UPDATE turns SET usage = :usage", usage=orjson.dumps(stored).decode())
        found = await database.read(lambda connection: turns.find(connection, "s1", a_turn().turn_id))
        assert found is not None
        if found.usage is not None:
            assert orjson.dumps(found.usage.to_json())
