"""Migrations and tables say the same, and a database can be brought up to date from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import OperationalError

from app.storage import migrate, tables
from app.storage.database import Database


def empty(path: Path) -> Engine:
    return Database(f"sqlite:///{path}/hector.db").engine


def shape(engine: Engine) -> dict[str, object]:
    """Every table with its columns, key and indexes, as the database itself tells them."""
    found = inspect(engine)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted(
                (
                    index["name"],
                    tuple(index["column_names"]),
                    index["unique"],
                    str(index["dialect_options"].get("sqlite_where")),
                )
                for index in found.get_indexes(table)
            ),
        )
        for table in found.get_table_names()
        if table != "alembic_version"
    }


def test_migrations_and_tables_agree(tmp_path: Path) -> None:
    engine = empty(tmp_path)
    migrate.upgrade(engine)
    assert migrate.differences(engine) == []


def test_a_migrated_database_is_what_a_database_in_memory_is(tmp_path: Path) -> None:
    migrated = empty(tmp_path)
    migrate.upgrade(migrated)
    (tmp_path / "made").mkdir()
    made = empty(tmp_path / "made")
    tables.metadata.create_all(made)
    assert shape(migrated) == shape(made)


def test_an_upgrade_brings_an_empty_database_up_to_date_and_may_be_repeated(tmp_path: Path) -> None:
    engine = empty(tmp_path)
    assert not migrate.is_current(engine)
    migrate.upgrade(engine)
    assert migrate.is_current(engine)
    before = shape(engine)
    migrate.upgrade(engine)
    assert shape(engine) == before


def test_a_missing_table_is_a_difference(tmp_path: Path) -> None:
    engine = empty(tmp_path)
    migrate.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE runs")
    assert migrate.differences(engine) != []


def test_an_upgrade_that_breaks_off_changes_nothing(tmp_path: Path) -> None:
    engine = empty(tmp_path)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE runs (in_the_way INTEGER)")
    before = shape(engine)
    with pytest.raises(OperationalError, match="runs"):
        migrate.upgrade(engine)
    assert shape(engine) == before
    assert not migrate.is_current(engine)
