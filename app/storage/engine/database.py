"""Database: engine, writer and readers of one URL; migrations; health.

Statements are SQLAlchemy Core. They run in threads of our own (one that writes, a few that read)
instead of an async driver: one hand-over for a whole batch instead of one for each statement.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.config.server import without_password
from app.domain.errors import Unavailable
from app.storage import settings, tables
from app.storage.engine import dialect
from app.storage.engine.fence import make_fence
from app.storage.engine.revision import find_revision, is_current
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.engine.writer import Writer

T = TypeVar("T")

_CHECK_SECONDS = 0.8
_ANSWER_COUNTS_SECONDS = 1.0


class Database:
    """One database with its writer and readers. Without a URL: one in memory, which ends with this object."""

    def __init__(self, url: str | None, *, pool_size: int = 5, replica_id: str | None = None) -> None:
        """`replica_id`: of a server that shares the database with others (PostgreSQL)."""
        self.in_memory = url is None
        self.is_shared = replica_id is not None
        """Whether other servers write to it, too."""
        self.url = url or f"sqlite:///file:hector-{id(self)}?mode=memory&cache=shared&uri=true"
        self.engine = dialect.make_engine(self.url, replica_id)
        self._fence = make_fence(self.engine, replica_id)
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._readers = ThreadPoolExecutor(pool_size, thread_name_prefix="hector-reader")
        self._writer: Writer | None = None
        self._is_closed = False
        self._answered_at = float("-inf")
        """When a read was last answered; any of the threads may say so."""

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
            raise _cannot_be_opened(self.url, error) from error
        self._writer = Writer(self.engine, asyncio.get_running_loop(), fence=self._fence)

    def _prepare(self, migrate: bool) -> None:
        if self.in_memory:
            self._connections.append(self.engine.connect())  # the database lives as long as a connection does
            tables.metadata.create_all(self.engine)
            return
        dialect.make_place(self.url)
        if not is_current(self.engine):
            if not migrate:
                raise Unavailable(
                    "The database schema is not this release's; run `hector migrate`, or set storage.migrate to auto."
                )
            # alembic takes a while to import: only where it is used
            from app.storage.engine.migrate import upgrade

            upgrade(self.engine)
        if self._fence is not None:
            self._fence.take(self.engine)

    @property
    def path(self) -> Path | None:
        """The file, on SQLite."""
        if self.in_memory or self.engine.dialect.name != "sqlite":
            return None
        return Path(str(self.engine.url.database))

    def submit(self, unit: UnitOfWork) -> asyncio.Future[None]:
        return self.writer.submit(unit)

    def next_commit(self) -> asyncio.Future[None]:
        """See `Writer.next_commit`."""
        return self.writer.next_commit()

    def alone(self, work: Callable[[Connection], Any]) -> asyncio.Future[Any]:
        """See `Writer.alone`."""
        return self.writer.alone(work)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a reading connection in a thread; no transaction stays open.

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
        was_idle = getattr(self._local, "connection", None) is not None
        while True:
            try:
                found = query(self._connected())
                self._answered_at = time.monotonic()
                return found
            except DBAPIError as error:
                self._answered_at = float("-inf")
                if not dialect.is_connection_lost(error):
                    raise
                self._drop_connection()
                if not was_idle:
                    raise
                was_idle = False  # the connection may have died while idle; a read can be repeated safely

    def _connected(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    def _drop_connection(self) -> None:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            return
        self._local.connection = None
        self._connections.remove(connection)
        connection.invalidate()
        connection.close()

    async def check(self) -> None:
        """Raise `Unavailable` unless the database can be read and, if the last write failed, written.

        A read that was just answered is answer enough: under load a probe would wait behind many others.
        """
        if time.monotonic() - self._answered_at > _ANSWER_COUNTS_SECONDS:
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self.read(lambda connection: connection.execute(text("SELECT 1")).scalar())
            except TimeoutError:
                raise Unavailable(f"The database has not answered for {_CHECK_SECONDS:g} seconds.") from None
        if self.writer.is_failing:  # a server that is not ready may get no messages: write something to find out
            try:
                await self.submit(settings.make_probe())
            except (WriteFailed, WriteConflict) as error:
                raise Unavailable(f"The database cannot write: {error}") from error

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.close()
        self._is_closed = True
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()
        self.engine.dispose()


def migrate_database(url: str) -> tuple[str | None, str | None]:
    """Bring the database at `url` up to date; returns the revisions before (`None`: it was empty) and now.

    Raises:
        Unavailable: it cannot be opened, or a newer release has migrated it.
    """
    from app.storage.engine.migrate import upgrade

    engine = dialect.make_engine(url)
    try:
        dialect.make_place(url)
        before = find_revision(engine)
        upgrade(engine)
        return before, find_revision(engine)
    except (DBAPIError, OSError) as error:
        raise _cannot_be_opened(url, error) from error
    finally:
        engine.dispose()


def _cannot_be_opened(url: str, error: Exception) -> Unavailable:
    reason = getattr(error, "orig", None) or error
    return Unavailable(f"The database {without_password(url)} cannot be opened: {reason}")
