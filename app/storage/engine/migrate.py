"""Bring a database to this release's schema with the revisions in `migrations/`.

The revisions are frozen: they import nothing of this package, so what a release once did to a database stays as it was.
"""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from app.domain.errors import Unavailable
from app.storage.engine.dialect import begin_migration
from app.storage.engine.revision import SCRIPTS


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


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
