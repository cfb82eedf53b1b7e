"""Migrations: bring a database to this release's schema. The scripts travel inside the package."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from app.domain.errors import Unavailable
from app.storage import document_text, full_text, tables
from app.storage.engine.dialect import begin_migration

HERE = Path(__file__).parent.parent / "migrations"
_FULL_TEXT = (full_text.INDEX, document_text.INDEX)


def upgrade(engine: Engine, *, to: str = "head") -> None:
    """Run what is missing, all of it or nothing. Safe to call on a current database.

    Raises:
        Unavailable: the schema is one that this release does not know.
    """
    with engine.begin() as connection:
        begin_migration(connection)
        try:
            command.upgrade(_config(connection), to)
        except CommandError as error:
            raise Unavailable(f"The database was made by another, newer release: {error}") from error


def is_current(engine: Engine) -> bool:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        return set(context.get_current_heads()) == set(ScriptDirectory.from_config(_config(connection)).get_heads())


def revision(engine: Engine) -> str | None:
    """What the database says it is; `None` for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def differences(engine: Engine) -> list[object]:
    """What the migrated schema and `tables.py` disagree about; empty when they agree."""
    from alembic.autogenerate import compare_metadata

    with engine.connect() as connection:
        options = {"include_name": lambda name, *_: not any(index.is_ours(name) for index in _FULL_TEXT)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
