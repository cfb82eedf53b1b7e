"""What was deleted stands in no file of the database any more, nor in a page, a log or an index of it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from app.domain.memory import Memory, Owner
from app.storage import erasure, memories, sessions
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteFailed
from app.storage.erasure import Erasure
from app.storage.memories import Owned
from tests.fixtures.rows import a_message, a_session, store_messages, store_session
from tests.storage.schema import read_schema

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/hector.db")
    await opened.open()
    yield opened
    await opened.close()


def left_of(database: Database, words: list[str]) -> list[str]:
    """Which of the words stand in a file of the database."""
    path = Path(str(database.engine.url.database))
    content = b"".join([one.read_bytes() for one in path.parent.iterdir() if not one.name.endswith("-shm")])
    return [word for word in words if word.encode() in content]


async def remember(database: Database, session_id: str, *words: str) -> None:
    unit = UnitOfWork(session_id)
    owner = Owner("assistant", "key", "ann", session_id)
    drafts = [(Memory(f"mem_{w}", owner, "uann", "message", "user", "user", f"{w} said", 1000), [w]) for w in words]
    memories.insert(unit, drafts)
    await database.submit(unit)


async def forget_memories(database: Database, session_id: str) -> None:
    unit = UnitOfWork(session_id)
    memories.delete(unit, Owned("assistant", "key", session_id=session_id))
    await database.submit(unit)


async def erase_session(database: Database, session_id: str) -> None:
    unit = UnitOfWork(session_id)
    sessions.add_erase(unit)
    await database.submit(unit)


async def test_nothing_of_hundreds_of_rows_among_others_is_left(file: Database) -> None:
    """Enough rows in enough disorder for pages to be split, where copies stay behind (erasure.py tells why)."""
    chance = random.Random(7)

    def word() -> str:
        return "".join(chance.choices(ALPHABET, k=14))

    doomed = {f"sess_{word()}": [word() for _ in range(15)] for _ in range(30)}
    others = {f"sess_{word()}": [word() for _ in range(15)] for _ in range(60)}
    said = [(session_id, text) for group in (doomed, others) for session_id, texts in group.items() for text in texts]
    chance.shuffle(said)
    await asyncio.gather(*[store_session(file, a_session(one, user_id=f"user-of-{one}")) for one in (*doomed, *others)])
    for start in range(0, len(said), 10):
        writing = []
        for seq, (session_id, content) in enumerate(said[start : start + 10], start):
            message = a_message(seq, session_id, content=f"{content} " * chance.choice([1, 9, 60]))
            writing.append(store_messages(file, message))
            if seq % 3 == 0:
                writing.append(remember(file, session_id, content))
        await asyncio.gather(*writing)
    for session_id in doomed:
        await erase_session(file, session_id)
        await forget_memories(file, session_id)
    gone = [*doomed, *[text for texts in doomed.values() for text in texts]]
    assert left_of(file, gone)
    assert (await Erasure(file).erase()).problem is None
    assert left_of(file, gone) == []
    assert len(left_of(file, [content for texts in others.values() for content in texts])) == 60 * 15


async def test_a_log_that_a_backup_reads_is_not_cut_off_and_said_so(file: Database) -> None:
    await store_session(file, a_session("s1", title="xyzzyplugh"))
    path = str(file.engine.url.database)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sessions").fetchall()
        await erase_session(file, "s1")
        writing = asyncio.gather(*[store_session(file, a_session(f"t{number}")) for number in range(20)])
        erased = await Erasure(file, pauses=[0.01]).erase()
        assert erased.problem is not None
        assert "reader" in erased.problem
        await writing
    assert (await Erasure(file).erase()).is_complete
    assert left_of(file, ["xyzzyplugh"]) == []


async def test_a_disk_that_is_full_is_a_problem_and_no_error(file: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_connection: object) -> None:
        raise OSError("database or disk is full")

    erasure = Erasure(file)
    monkeypatch.setattr(file, "alone", lambda work: Database.alone(file, refuse))
    assert "full" in str((await erasure.erase()).problem)
    assert not await erasure.tidy()


async def test_what_is_deleted_in_passing_is_tidied_up_in_the_background(file: Database) -> None:
    erasure = Erasure(file, quiet_seconds=0.05, max_seconds=0.2)
    running = asyncio.create_task(erasure.run())
    await remember(file, "s1", "xyzzyplugh")
    await store_session(file, a_session("s1", title="frobnicate"))
    await erase_session(file, "s1")
    await forget_memories(file, "s1")
    erasure.touch(text=True)
    async with asyncio.timeout(5):
        while left_of(file, ["xyzzyplugh", "frobnicate"]):
            erasure.touch()  # also while more is deleted all the time
            await asyncio.sleep(0.02)
    running.cancel()


async def test_what_a_dead_process_left_in_the_log_is_cut_off_at_the_next_start(tmp_path: Path) -> None:
    first = Database(f"sqlite:///{tmp_path}/hector.db")
    await first.open()
    await store_session(first, a_session("s1", title="xyzzyplugh"))
    await erase_session(first, "s1")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("hector.db", "hector.db-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    await first.close()
    second = Database(f"sqlite:///{copy}/hector.db")
    assert left_of(second, ["xyzzyplugh"])
    await second.open()
    await Erasure(second).cut_log()
    assert left_of(second, ["xyzzyplugh"]) == []
    await second.close()


async def test_on_postgres_no_dead_row_and_no_word_of_the_full_text_stays(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    await remember(database, "s1", "xyzzyplugh")
    await remember(database, "s2", "other")
    await store_session(database, a_session("s1"))
    await erase_session(database, "s1")
    await forget_memories(database, "s1")
    assert (await Erasure(database).erase()).problem is None
    dead = text("SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname IN ('sessions', 'memories')")
    index = text("SELECT pg_relation_filepath('memories_text'), current_setting('data_directory')")
    async with asyncio.timeout(5):
        while int(await database.read(lambda c: c.execute(dead).scalar_one())):
            await asyncio.sleep(0.02)
    place, folder = await database.read(lambda c: c.execute(index).one())
    await database.read(lambda c: c.exec_driver_sql("CHECKPOINT"))
    assert b"xyzzyplugh" not in (Path(folder) / place).read_bytes()
    assert b"other" in (Path(folder) / place).read_bytes()
    await database.close()


@pytest.mark.parametrize("is_emptied", [False, True], ids=["others stay", "emptied"])
async def test_on_postgres_no_word_stays_in_what_the_planner_knows(postgres_url: str, is_emptied: bool) -> None:
    database = Database(postgres_url)
    await database.open()
    doomed, others = [f"doomed{n}" for n in range(60)], [f"other{n}" for n in range(60)]
    await store_session(database, a_session("s1", user_id="user-of-doomed"))
    await remember(database, "s1", *doomed)
    if not is_emptied:
        await store_session(database, a_session("s2", user_id="user-of-others"))
        await remember(database, "s2", *others)

    def look(connection: Connection) -> str:
        known = connection.exec_driver_sql("SELECT * FROM pg_stats WHERE schemaname = current_schema()").all()
        return " ".join([str(value) for row in known for value in row])

    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
        assert "doomed" in look(connection)
        schema = read_schema(database.engine)
        await forget_memories(database, "s1")
        await erase_session(database, "s1")
        assert (await Erasure(database).erase()).is_complete
        assert "doomed" not in look(connection)
    assert read_schema(database.engine) == schema
    await database.close()


async def test_on_postgres_readers_do_not_wait_for_who_reads_for_long(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "LOCK_MS", 50)
    database = Database(postgres_url)
    await database.open()
    await remember(database, "s1", "doomed")
    with database.engine.connect() as reader, database.engine.connect() as other:
        other.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE memories")
        await forget_memories(database, "s1")
        reader.exec_driver_sql("SELECT count(*) FROM memories")  # and its transaction stays open, as a backup's does
        erased = await Erasure(database).erase()
        assert "lock" in str(erased.problem)
        assert other.exec_driver_sql("SELECT count(*) FROM memories").scalar() == 0
    assert (await Erasure(database).erase()).is_complete
    await database.close()


async def test_work_alone_finds_what_was_submitted_before_and_no_open_transaction(file: Database) -> None:
    stored = file.submit(sessions.create(a_session("s1")))
    found = await file.alone(lambda c: c.exec_driver_sql("SELECT count(*) FROM sessions").scalar())
    assert stored.done()
    assert found == 1
    with pytest.raises(WriteFailed):
        await file.alone(lambda c: c.exec_driver_sql("nonsense"))
    await store_session(file, a_session("s2"))
