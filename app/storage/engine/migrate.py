"""Bring a database to this release's schema with the revisions in `migrations/`.

The revisions are frozen: they import nothing of this package, so what a release once did to a database stays as it was.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from app.domain.errors import Unavailable
from app.storage.engine.dialect import begin_migration

_PACKAGE = Path(__file__).parents[2]
_INSTALLED = _PACKAGE / "_migrations"  # where the wheel puts them (pyproject.toml)
SCRIPTS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "migrations"


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


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
