"""What turns need of memory, on every database: summaries, what a fork copies, how far a session is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.memory import Memory, Owner
from app.domain.session import SessionStatus
from app.domain.summary import Summary
from app.storage import memories, memory_transfer, sessions, summaries
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict
from app.storage.memories import Owned
from tests.fixtures.rows import a_message, a_session, store_messages, store_session


async def store(database: Database, upto: int, session_id: str = "s1") -> None:
    unit = UnitOfWork(session_id)
    summaries.add(unit, Summary(upto, f"Up to {upto}.", 5, "model", 1000))
    await database.submit(unit)


async def latest(database: Database, before: int = 2**62, session_id: str = "s1") -> int | None:
    found = await database.read(lambda connection: summaries.find(connection, session_id, before=before))
    return found.upto_seq if found is not None else None


async def test_a_summary_goes_when_a_message_in_it_changes(database: Database) -> None:
    await store_session(database, a_session())
    for upto in (3, 5, 7):
        await store(database, upto)
    unit = UnitOfWork("s1")
    summaries.add_drop(unit, seq=5)
    await database.submit(unit)
    assert await latest(database) == 3


async def test_a_copy_has_what_covers_nothing_beyond_it(database: Database) -> None:
    await store_session(database, a_session())
    for upto in (3, 5, 7):
        await store(database, upto)
    unit = sessions.create(a_session("copy"))
    summaries.copy(unit, source="s1", upto=6)
    await database.submit(unit)
    assert await latest(database, session_id="copy") == 5


async def test_a_copy_remembers_what_its_source_alone_does_up_to_there(database: Database) -> None:
    await store_messages(database, a_message(2), a_message(3), a_message(5))
    owner = Owner("assistant", "alice", "ann", "s1")
    made = [Memory(f"mem{n}", owner, "own", "message", "user", "ann", f"t{n}", 1, None, f"m{n}") for n in (2, 3, 5)]
    wide = replace(made[0], memory_id="wide", audience="all", message_id="m-other")
    unit = UnitOfWork("s1")
    memories.insert(unit, [(memory, [memory.text]) for memory in (*made, wide)])
    await database.submit(unit)
    unit = UnitOfWork("copy")
    memory_transfer.copy(unit, source="s1", upto=3, audiences=("own", "copied"), new_id=lambda kind: f"{kind}-new")
    with pytest.raises(WriteConflict):
        await database.submit(unit)  # two memories of one id
    numbers = iter("ab")
    unit = UnitOfWork("copy")
    memory_transfer.copy(
        unit, source="s1", upto=3, audiences=("own", "copied"), new_id=lambda kind: f"{kind}-{next(numbers)}"
    )
    await database.submit(unit)
    owned = Owned("assistant", "alice", session_id="copy")
    found = await database.read(lambda connection: memories.list_page(connection, owned, before=None, limit=9))
    assert [(memory.text, memory.audience, memory.place) for memory in reversed(found)] == [
        ("t2", "copied", 0),
        ("t3", "copied", 1),
    ]


async def test_how_far_a_session_is_remembered_only_grows(database: Database) -> None:
    await store_session(database, a_session())
    for upto in (4, 9):
        unit = UnitOfWork("s1")
        sessions.add_remembered(unit, upto=upto)
        await database.submit(unit)
    unit = UnitOfWork("s1")
    sessions.add_remembered(unit, upto=5)
    with pytest.raises(WriteConflict):
        await database.submit(unit)
    found = await database.read(lambda connection: sessions.find(connection, "s1"))
    assert found is not None
    assert found.remembered_seq == 9


async def test_sessions_that_are_over_and_not_remembered_are_found(database: Database) -> None:
    over = {"last_seq": 9}
    await store_session(database, a_session("active", **over))
    await store_session(database, a_session("other", agent="other", **over))
    await store_session(database, a_session("done", remembered_seq=9, **over))
    await store_session(database, a_session("left", **over))
    for session_id, now in (("other", 5000), ("done", 5000), ("left", 5000)):
        unit = UnitOfWork(session_id)
        sessions.add_end(unit, status=SessionStatus.EXPIRED, ending=None, ended_ms=now)
        await database.submit(unit)

    async def found(ended_after: int) -> list[str]:
        return await database.read(
            lambda connection: sessions.over_not_remembered(
                connection, agents=["assistant"], ended_after=ended_after, limit=9
            )
        )

    assert await found(4000) == ["left"]
    assert await found(5000) == []
