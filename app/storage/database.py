"""Database: engine, writer and readers of one URL; pragmas; migrations; health.

Statements are SQLAlchemy Core. They run in threads of our own (one that writes, a few that read)
instead of an async driver: one hand-over for a whole batch instead of one for each statement.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from app.domain.errors import Unavailable
from app.storage import tables
from app.storage.unit_of_work import UnitOfWork
from app.storage.writer import Writer

T = TypeVar("T")


class Database:
    """One database, opened. Without a URL: one in memory that lives and dies with this object."""

    def __init__(self, url: str | None, *, pool_size: int = 5) -> None:
        self.in_memory = url is None
        self.url = url or f"sqlite:///file:hector-{id(self)}?mode=memory&cache=shared&uri=true"
        self.engine = _engine(self.url)
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._readers = ThreadPoolExecutor(pool_size, thread_name_prefix="hector-reader")
        self._writer: Writer | None = None
        self._is_closed = False

    @property
    def writer(self) -> Writer:
        assert self._writer is not None, "Database.open was not awaited"
        return self._writer

    async def open(self, *, migrate: bool = True) -> None:
        """Create or migrate the schema, then start the writer.

        Raises:
            Unavailable: the database cannot be opened, or its schema is not this release's and `migrate` is off.
        """
        try:
            await asyncio.to_thread(self._prepare, migrate)
        except (DBAPIError, OSError) as error:
            reason = getattr(error, "orig", None) or error
            raise Unavailable(f"The database {_without_password(self.url)} cannot be opened: {reason}") from error
        self._writer = Writer(self.engine, asyncio.get_running_loop())

    def _prepare(self, migrate: bool) -> None:
        if self.in_memory:
            self._connections.append(self.engine.connect())  # the database lives as long as a connection does
            tables.metadata.create_all(self.engine)
            return
        from app.storage import (
            migrate as migrations,
        )  # alembic takes a while to import: only where it is used

        path = make_url(self.url).database
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        if migrate:
            migrations.upgrade(self.engine)
        elif not migrations.is_current(self.engine):
            raise Unavailable("The database schema is not this release's; set storage.migrate to auto.")

    def submit(self, unit: UnitOfWork) -> asyncio.Future[None]:
        return self.writer.submit(unit)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a reading connection in a thread; nothing stays open afterwards.

        Raises:
            Unavailable: the database did not answer.
        """
        if self._is_closed:
            raise Unavailable("The database is closed.")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, self._query, query)
        except DBAPIError as error:
            raise Unavailable(f"The database cannot be read: {error.orig}") from error

    def _query(self, query: Callable[[Connection], T]) -> T:
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.invalidated:
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._local.connection = connection
            self._connections.append(connection)
        return query(connection)

    async def check(self) -> None:
        """Raise `Unavailable` unless a trivial statement works."""
        await self.read(lambda connection: connection.execute(text("SELECT 1")).scalar())

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.close()
        self._is_closed = True
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()
        self.engine.dispose()


def _engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False}, poolclass=NullPool)
    event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.execute("PRAGMA journal_mode = WAL")
    # FULL costs nothing that can be measured under group commit, and survives a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    # Only the database in memory shares its cache: there a reader would else collide with the writer.
    cursor.execute("PRAGMA read_uncommitted = 1")
    cursor.close()


def _without_password(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
