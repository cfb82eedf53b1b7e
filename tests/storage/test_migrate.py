"""Revisions and tables make the same schema, and a database can be brought up to date from nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from app.storage import sessions, tables, turns
from app.storage.engine import migrate, revision
from app.storage.engine.database import Database, migrate_database
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.rows import a_message, count_rows, store_messages
from tests.storage.schema import read_schema


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = Database(url).engine
    yield engine
    engine.dispose()


def test_revisions_and_tables_make_the_same_schema(engine: Engine) -> None:
    tables.metadata.create_all(engine)
    made = read_schema(engine)
    tables.metadata.drop_all(engine)
    assert read_schema(engine) == set()
    migrate.upgrade(engine)
    assert read_schema(engine) == made


CHANGES = (
    "DROP TABLE runs",
    "DROP INDEX runs_by_age",
    "DROP INDEX turns_one_open; CREATE UNIQUE INDEX turns_one_open ON turns (session_id)",
    "ALTER TABLE runs ADD COLUMN more TEXT",
    "ALTER TABLE runs DROP COLUMN start; ALTER TABLE runs ADD COLUMN start BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN checked INTEGER CHECK (checked > 0)",
)
CHANGES_OF_SQLITE = ("DROP TRIGGER document_text_removed", "DROP TABLE memories_text")
CHANGES_OF_POSTGRES = (
    "DROP INDEX memories_text",
    "ALTER INDEX document_text RESET (fastupdate)",
    "ALTER TABLE runs ALTER COLUMN content SET NOT NULL",
    "ALTER TABLE memories ALTER COLUMN row DROP DEFAULT",
)


@pytest.mark.parametrize(
    ("url", "change"),
    [("sqlite", change) for change in CHANGES + CHANGES_OF_SQLITE]
    + [("postgres", change) for change in CHANGES + CHANGES_OF_POSTGRES],
    indirect=["url"],
)
def test_the_comparison_sees_every_kind_of_difference(engine: Engine, change: str) -> None:
    tables.metadata.create_all(engine)
    before = read_schema(engine)
    with engine.begin() as connection:
        for statement in change.split("; "):
            connection.exec_driver_sql(statement)
    assert read_schema(engine) != before


def test_an_upgrade_brings_an_empty_database_up_to_date_and_may_be_repeated(engine: Engine) -> None:
    assert not revision.is_current(engine)
    migrate.upgrade(engine)
    assert revision.is_current(engine)
    before = read_schema(engine)
    migrate.upgrade(engine)
    assert read_schema(engine) == before


def test_the_last_file_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(revision.SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [revision.newest_revision()]


def test_an_upgrade_that_breaks_off_changes_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE runs (in_the_way INTEGER)")
    before = read_schema(engine)
    with pytest.raises(DBAPIError, match="runs"):
        migrate.upgrade(engine)
    assert read_schema(engine) == before
    assert not revision.is_current(engine)


# A session in the middle of a turn, as the first release left it. Frozen: it says what that release wrote.
OLD_ROWS = (
    "INSERT INTO sessions (session_id, agent, principal, user_id, status, metadata, created_ms, active_ms, last_seq,"
    " reserved_seq, floor_seq, message_count, prompt_tokens, completion_tokens)"
    " VALUES ('s1', 'assistant', 'alice', 'alice', 'active', '{}', 1, 2, 3, 1024, 0, 1, 0, 0)",
    "INSERT INTO turns (turn_id, session_id, state, background, place, input, user_message_id, message_id, first_seq,"
    " created_ms, started_ms) VALUES ('t1', 's1', 'running', 0, 1, 'Hello', 'm1', 'm2', 1, 1, 1)",
    "INSERT INTO messages (session_id, seq, message_id, turn_id, role, content, status, created_ms)"
    " VALUES ('s1', 1, 'm1', 't1', 'user', 'Hello', 'completed', 1)",
)


def previous(engine: Engine) -> None:
    """Bring an empty database to where the previous release left it, with rows in it."""
    migrate.upgrade(engine, to="0001")
    with engine.begin() as connection:
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)


async def test_the_previous_releases_data_is_taken_over(url: str, engine: Engine) -> None:
    previous(engine)
    assert not revision.is_current(engine)
    database = Database(url)
    await database.open()
    session = await database.read(lambda connection: sessions.find(connection, "s1"))
    assert session is not None
    assert (session.forked_from, session.message_count, session.reserved_seq) == (None, 1, 1024)
    assert [turn.turn_id for turn in await database.read(turns.unfinished)] == ["t1"]
    await store_messages(database, a_message(2))
    unit = UnitOfWork("s1")
    sessions.add_change(unit, now=9, last=4, reserved=4, messages=1, prompt=5, completion=6)
    await database.submit(unit)
    assert await count_rows(database, "s1") == {"sessions": 1, "turns": 1, "messages": 2}
    await database.close()


def test_a_migration_leaves_the_previous_release_able_to_write(engine: Engine) -> None:
    migrate.upgrade(engine)
    with engine.begin() as connection:
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)


def test_hector_migrate_says_where_it_came_from(url: str, engine: Engine) -> None:
    assert migrate_database(url) == (None, revision.find_revision(engine))
    assert migrate_database(url) == (revision.find_revision(engine), revision.find_revision(engine))


def test_two_that_migrate_at_once_do_not_collide(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = [done.result()[1] for done in [threads.submit(migrate_database, url) for _ in range(4)]]
    assert len(set(found)) == 1


def test_a_new_file_that_another_process_writes_to_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "hector.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as writer, ThreadPoolExecutor(1) as thread:
        writer.execute("BEGIN IMMEDIATE")
        migrating = thread.submit(migrate_database, f"sqlite:///{file}")
        with pytest.raises(TimeoutError):
            migrating.result(timeout=0.1)
        writer.rollback()
        assert migrating.result()[0] is None


def test_full_text_of_an_older_release_has_no_list_of_pending_rows(empty_postgres_url: str) -> None:
    engine = Database(empty_postgres_url).engine
    migrate.upgrade(engine, to="0007")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT relname FROM pg_class WHERE 'fastupdate=off' = ANY (reloptions)")
        assert set(found.scalars()) == {"memories_text", "document_text"}
    engine.dispose()
