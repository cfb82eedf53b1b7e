"""Opening, reading and closing: a file and memory keep the same contract."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from app.domain.errors import Unavailable
from app.storage import sessions, settings
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteFailed
from tests.fixtures.rows import a_session, store_session


async def find(database: Database, session_id: str) -> object:
    return await database.read(lambda connection: sessions.find(connection, session_id))


async def test_what_is_written_is_read_at_once(database: Database) -> None:
    for number in range(20):
        session = a_session(f"s{number}", title="a title", metadata={"n": number, "ü": ["€"]})
        await store_session(database, session)
        assert await find(database, session.session_id) == session


async def test_many_read_while_one_writes(database: Database) -> None:
    async def write() -> None:
        for number in range(40):
            await store_session(database, a_session(f"s{number}"))

    async def read() -> None:
        while not writing.done():
            await find(database, "s39")

    writing = asyncio.ensure_future(write())
    await asyncio.gather(writing, *[read() for _ in range(8)])
    assert await find(database, "s39") is not None


async def test_a_refused_unit_leaves_nothing_to_be_read(database: Database) -> None:
    unit = sessions.create(a_session())
    unit.calls.append(lambda connection: connection.exec_driver_sql("nonsense"))
    with pytest.raises(WriteFailed):
        await database.submit(unit)
    assert await find(database, "s1") is None


async def test_a_query_that_fails_is_said_to_be_unavailable(database: Database) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        await database.read(lambda connection: connection.execute(text("SELECT * FROM nowhere")).all())
    await database.check()


async def test_close_commits_what_was_submitted(url: str) -> None:
    database = Database(url)
    await database.open()
    submitted = [database.submit(sessions.create(a_session(f"s{number}"))) for number in range(10)]
    await database.close()
    assert all(future.done() and future.exception() is None for future in submitted)
    again = Database(url)
    await again.open()
    assert await find(again, "s9") is not None
    await again.close()


async def test_databases_in_memory_are_strangers_to_each_other() -> None:
    one, other = Database(None), Database(None)
    await one.open()
    await other.open()
    await store_session(one, a_session())
    assert await find(other, "s1") is None
    await one.close()
    await other.close()


async def test_a_file_is_made_with_its_folders_and_survives_a_power_cut(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/deep/down/hector.db")
    await database.open()
    pragmas = await database.read(
        lambda connection: [
            connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
        ]
    )
    assert pragmas == ["wal", 2]
    await database.close()


@pytest.mark.parametrize("migrate", [True, False])
async def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path: Path, migrate: bool) -> None:
    (tmp_path / "hector.db").write_bytes(b"This is a shopping list, not a database.\n" * 50)
    database = Database(f"sqlite:///{tmp_path}/hector.db")
    with pytest.raises(Unavailable, match=r"hector\.db"):
        await database.open(migrate=migrate)
    await database.close()


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    database = Database(f"sqlite:///{tmp_path}/data/hector.db")
    with pytest.raises(Unavailable, match=r"hector\.db"):
        await database.open()
    await database.close()


async def test_check_refuses_an_empty_database_and_takes_a_current_one(url: str) -> None:
    database = Database(url)
    with pytest.raises(Unavailable, match=r"storage\.migrate"):
        await database.open(migrate=False)
    await database.close()
    for migrate in (True, False):
        database = Database(url)
        await database.open(migrate=migrate)
        await database.close()


@pytest.mark.parametrize("migrate", [True, False])
async def test_a_database_of_a_newer_release_is_refused(tmp_path: Path, migrate: bool) -> None:
    database = Database(f"sqlite:///{tmp_path}/hector.db")
    await database.open()
    await database.close()
    with sqlite3.connect(tmp_path / "hector.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    database = Database(f"sqlite:///{tmp_path}/hector.db")
    with pytest.raises(Unavailable, match="newer release" if migrate else "not this release's"):
        await database.open(migrate=migrate)
    await database.close()


async def test_the_key_of_tombstones_is_kept(url: str) -> None:
    database = Database(url)
    await database.open()
    assert await database.read(settings.find_tombstone_key) is None
    key, unit = settings.make_tombstone_key()
    await database.submit(unit)
    await database.close()
    again = Database(url)
    await again.open()
    assert await again.read(settings.find_tombstone_key) == key
    await again.close()


async def test_what_comes_after_the_close_is_refused(database: Database) -> None:
    await database.close()
    with pytest.raises(WriteFailed):
        await database.submit(UnitOfWork("s1"))
    with pytest.raises(Unavailable):
        await find(database, "s1")


async def test_check_waits_for_no_long_reading(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.storage.engine.database._CHECK_SECONDS", 0.05)
    monkeypatch.setattr("app.storage.engine.database._ANSWER_COUNTS_SECONDS", 0.05)
    go_on = threading.Event()
    readings = [asyncio.create_task(database.read(lambda _connection: go_on.wait(10))) for _ in range(20)]
    try:
        async with asyncio.timeout(5):
            while await _is_answered(database):  # an answer of a moment ago still counts
                await asyncio.sleep(0.01)
    finally:
        go_on.set()
        await asyncio.gather(*readings)
    await database.check()


async def _is_answered(database: Database) -> bool:
    try:
        await database.check()
    except Unavailable as error:
        return "has not answered" not in str(error)
    return True
