"""A look at the database from beside a server: its schema, its clock, its room for connections. Changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError

from app.config.server import without_password
from app.domain.errors import Unavailable
from app.storage import tables
from app.storage.engine import dialect
from app.storage.engine.revision import find_revision, newest_revision

_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())")
_MOST = text("SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int")
_USED = text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")


@dataclass(frozen=True, slots=True)
class Health:
    """`revision`: `None` for an empty database; `newest`: this release's.

    `ahead_seconds`: how far the clock of the database is ahead of this machine's, with `unsure_seconds` to either side.
    SQLite has no clock of its own: how far the newest session lies in the future, and 0 if it does not.
    `free_connections`: that Postgres would still accept; `None` for SQLite.
    """

    revision: str | None
    newest: str
    answer_seconds: float
    ahead_seconds: float
    unsure_seconds: float
    free_connections: int | None


def look(url: str) -> Health | None:
    """`None`: there is no SQLite file yet.

    Raises:
        Unavailable: the database cannot be opened or read.
    """
    if not dialect.exists(url):
        return None
    engine = dialect.make_engine(url)
    try:
        revision = find_revision(engine)
        with engine.connect() as connection:
            began = time.perf_counter()
            connection.execute(text("SELECT 1")).scalar()
            answered = time.perf_counter() - began
            ask = _ask_postgres if dialect.is_postgres(url) else _ask_sqlite
            ahead, unsure, free = ask(connection, has_tables=revision is not None)
        return Health(revision, newest_revision(), answered, ahead, unsure, free)
    except (DBAPIError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise Unavailable(f"The database {without_password(url)} cannot be read: {reason}") from error
    finally:
        engine.dispose()


def _ask_postgres(connection: Connection, *, has_tables: bool) -> tuple[float, float, int | None]:
    before = time.time()
    theirs = float(connection.execute(_CLOCK).scalar_one())
    after = time.time()
    free = connection.execute(_MOST).scalar_one() - connection.execute(_USED).scalar_one()
    return theirs - (before + after) / 2, (after - before) / 2, int(free)


def _ask_sqlite(connection: Connection, *, has_tables: bool) -> tuple[float, float, int | None]:
    if not has_tables:
        return 0.0, 0.0, None
    newest = connection.execute(select(func.max(tables.sessions.c.active_ms))).scalar()
    return max((newest or 0) / 1000 - time.time(), 0.0), 0.0, None
