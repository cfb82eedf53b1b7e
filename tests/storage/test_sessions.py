"""Sessions in the database: conditions, numbers that never fall, pages, tombstones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from app.domain.session import Session, SessionStatus
from app.storage import events, sessions, turns
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict
from tests.fixtures.rows import a_message, a_session, a_turn, count_rows, store_messages, store_session, store_turn


async def find(database: Database, session_id: str = "s1") -> Session:
    session = await database.read(lambda connection: sessions.find(connection, session_id))
    assert session is not None
    return session


async def page(database: Database, **wanted: Any) -> list[str]:
    query: dict[str, Any] = {
        "principal": "alice",
        "agent": "assistant",
        "user_id": None,
        "status": None,
        "order": "creation",
        "before": None,
        "limit": 100,
    }
    found = await database.read(lambda connection: sessions.list_page(connection, **(query | wanted)))
    return [session.session_id for session in found]


async def end(database: Database, status: SessionStatus, *, ending: SessionStatus | None = None) -> None:
    unit = UnitOfWork("s1")
    sessions.add_end(unit, status=status, ending=ending, ended_ms=2000)
    await database.submit(unit)


async def start(database: Database, *, last: int = 1, reserved: int = 1000) -> None:
    unit = UnitOfWork("s1")
    sessions.add_change(unit, now=2000, last=last, reserved=reserved, messages=1, requires_active=True)
    await database.submit(unit)


async def test_an_id_is_given_once(database: Database) -> None:
    await store_session(database, a_session())
    with pytest.raises(WriteConflict):
        await store_session(database, a_session(agent="other", principal="bob"))
    assert (await find(database)).principal == "alice"


async def test_an_active_session_takes_messages_and_counts_them(database: Database) -> None:
    await store_session(database, a_session())
    await start(database)
    await start(database, last=5)
    session = await find(database)
    assert (session.active_ms, session.last_seq, session.reserved_seq, session.message_count) == (2000, 5, 1000, 2)


@pytest.mark.parametrize("status", [SessionStatus.ENDED, SessionStatus.EXPIRED])
async def test_a_session_that_is_over_takes_no_message(database: Database, status: SessionStatus) -> None:
    await store_session(database, a_session())
    await end(database, status)
    with pytest.raises(WriteConflict):
        await start(database)
    session = await find(database)
    assert (session.status, session.ended_ms, session.message_count) == (status, 2000, 0)


async def test_a_session_that_is_not_there_refuses_every_change(database: Database) -> None:
    changes: list[Callable[[UnitOfWork], object]] = [
        lambda unit: sessions.add_change(unit, now=1, last=1, reserved=1),
        lambda unit: sessions.add_change(unit, now=1, last=1, reserved=1, requires_active=True),
        lambda unit: sessions.add_describe(unit, title="t", metadata={}),
        lambda unit: sessions.add_end(unit, status=SessionStatus.ENDED, ending=None, ended_ms=1),
    ]
    for change in changes:
        unit = UnitOfWork("s1")
        change(unit)
        with pytest.raises(WriteConflict):
            await database.submit(unit)


async def test_numbers_never_fall_whatever_the_order_of_the_units(database: Database) -> None:
    await store_session(database, a_session())
    await start(database, last=50, reserved=5000)
    await start(database, last=7, reserved=1000)
    await end(database, SessionStatus.ACTIVE, ending=SessionStatus.ENDED)
    unit = UnitOfWork("s1")
    sessions.add_change(unit, now=3000, last=8, reserved=2000, messages=1, prompt=10, completion=4)
    await database.submit(unit)
    session = await find(database)
    assert (session.last_seq, session.reserved_seq) == (50, 5000)
    assert (session.ending, session.prompt_tokens, session.completion_tokens) == (SessionStatus.ENDED, 10, 4)


async def test_sessions_whose_end_is_due_after_their_turn_are_found(database: Database) -> None:
    for name in ("s1", "s2"):
        await store_session(database, a_session(name))
    await end(database, SessionStatus.ACTIVE, ending=SessionStatus.EXPIRED)
    assert await database.read(sessions.ending) == ["s1"]
    await end(database, SessionStatus.EXPIRED)
    assert await database.read(sessions.ending) == []


@pytest.mark.parametrize("order", ["creation", "activity"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_pages_show_every_session_once_also_with_equal_times(
    database: Database, order: Literal["creation", "activity"], size: int
) -> None:
    times = [5, 5, 5, 1, 9, 9, 5, 1]
    for number, time in enumerate(times):
        session = a_session(f"s{number}", created_ms=time, active_ms=10 - time)
        await store_session(database, session)
    stamp = {f"s{n}": (time if order == "creation" else 10 - time) for n, time in enumerate(times)}
    found: list[str] = []
    before = None
    while got := await page(database, order=order, before=before, limit=size):
        found += got
        before = (stamp[got[-1]], got[-1])
    assert sorted(found) == sorted(stamp)
    assert [stamp[name] for name in found] == sorted(stamp.values(), reverse=True)


async def test_lists_are_filtered_by_owner_agent_user_and_status(database: Database) -> None:
    stored: dict[str, dict[str, Any]] = {
        "mine": {},
        "bobs": {"principal": "bob"},
        "other": {"agent": "coder"},
        "users": {"user_id": "u7"},
        "done": {"status": SessionStatus.ENDED},
    }
    for name, changes in stored.items():
        await store_session(database, a_session(name, **changes))
    assert set(await page(database)) == {"mine", "users", "done"}
    assert await page(database, user_id="u7") == ["users"]
    assert await page(database, status="ended") == ["done"]
    assert await page(database, agent="coder") == ["other"]
    count = await database.read(lambda connection: sessions.count_open(connection, principal="alice", user_id="alice"))
    assert count == 2


async def test_idle_and_old_sessions_are_due_and_only_those(database: Database) -> None:
    await store_session(database, a_session("idle", created_ms=100, active_ms=100))
    await store_session(database, a_session("old", created_ms=10, active_ms=900))
    await store_session(database, a_session("fresh", created_ms=900, active_ms=900))
    await store_session(database, a_session("over", created_ms=1, active_ms=1, status=SessionStatus.ENDED))

    async def due(idle: int | None, created: int | None) -> set[str]:
        found = await database.read(
            lambda connection: sessions.due_for_expiry(connection, idle_before=idle, created_before=created, limit=10)
        )
        return set(found)

    assert await due(500, None) == {"idle"}
    assert await due(None, 50) == {"old"}
    assert await due(500, 50) == {"idle", "old"}


async def fill(database: Database, session_id: str) -> None:
    """A row in every table that a session can have."""
    await store_session(database, a_session(session_id))
    await store_turn(database, a_turn(f"{session_id}-t", session_id))
    await store_messages(database, a_message(1, session_id))
    unit = UnitOfWork(session_id)
    events.add_fact(unit, seq=1, kind="turn_started", turn_id="t1", fact=b"{}", created_ms=1)
    events.add_run(
        unit,
        first=2,
        last=2,
        turn_id="t1",
        kind="text",
        lengths=events.unpack(b"\x01\x05"),
        content="Hello",
        created_ms=1,
    )
    turns.add_key(unit, key="k", body_hash=b"h", turn_id="t1", now=1)
    await database.submit(unit)


def erase(session_id: str, id_hash: bytes) -> UnitOfWork:
    unit = UnitOfWork(session_id)
    sessions.add_tombstone(unit, id_hash=id_hash, owner_hash=b"owner", agent="assistant", receipt={"turn_id": None})
    sessions.add_erase(unit)
    return unit


async def test_a_tombstone_takes_the_place_of_every_row(database: Database) -> None:
    for name in ("s1", "s2"):
        await fill(database, name)
    assert set(await count_rows(database, "s1")) == {"sessions", "turns", "messages", "events", "runs", "idempotency"}
    await database.submit(erase("s1", b"hash"))
    assert await count_rows(database, "s1") == {}
    assert len(await count_rows(database, "s2")) == 6
    found = await database.read(lambda connection: sessions.find_tombstone(connection, b"hash"))
    assert found == (b"owner", {"turn_id": None})


async def test_a_receipt_can_be_completed(database: Database) -> None:
    await store_session(database, a_session())
    await database.submit(erase("s1", b"hash"))
    unit = UnitOfWork("s1")
    sessions.add_amend(unit, id_hash=b"hash", receipt={"turn_id": "t1"})
    await database.submit(unit)
    found = await database.read(lambda connection: sessions.find_tombstone(connection, b"hash"))
    assert found == (b"owner", {"turn_id": "t1"})


async def test_nobody_is_buried_twice(database: Database) -> None:
    await store_session(database, a_session())
    await database.submit(erase("s1", b"hash"))
    with pytest.raises(WriteConflict):
        await database.submit(erase("s1", b"hash"))
