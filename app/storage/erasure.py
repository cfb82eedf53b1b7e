"""Erasure: deleted rows become unreadable in the database's files, too.

SQLite overwrites deleted rows with zeros (`secure_delete`). Three things are left to do here: the full text
keeps the stems of deleted memories until its segments are merged; the write-ahead log keeps old pages until it is
truncated; and a page that was split may keep a copy of a row that moved to another page, which only VACUUM removes
(measured: one row in thousands). Postgres keeps dead rows and their index entries until a VACUUM, and samples of their
values in its statistics until an ANALYZE.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, LargeBinary, Table, Text, exists, select, text
from sqlalchemy.exc import DBAPIError

from app.storage import full_text, personal, tables
from app.storage.engine.database import Database
from app.storage.engine.dialect import BUSY_MS
from app.storage.engine.unit_of_work import WriteFailed

log = logging.getLogger(__name__)

MERGE_PAGES = 128
"""Pages of full text merged in one step: a few milliseconds, between two batches of the writer."""
WAIT_MS = 100
"""How long one attempt to truncate the log may wait for readers; nothing is written meanwhile."""
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)
"""Seconds between attempts to truncate the log while a reader, such as a backup, uses an older state."""
_HAS_STATISTICS = text(
    "SELECT EXISTS (SELECT FROM pg_stats WHERE schemaname = current_schema() AND tablename = :table)"
)
LOCK_MS = 2_000
"""How long Postgres may wait for a lock; queries queue up behind it meanwhile."""
QUIET_SECONDS, MAX_SECONDS = 1.0, 30.0
"""Debounce: clean up after QUIET_SECONDS without deletions, but at most MAX_SECONDS after the first."""


@dataclass(frozen=True, slots=True)
class Erased:
    """Whether the files hold no more than the rows. `problem`: a sentence for people that says why not."""

    problem: str | None = None

    @property
    def is_complete(self) -> bool:
        return self.problem is None


class Erasure:
    """Clears the files of one database. `run` is its background task."""

    def __init__(
        self,
        database: Database,
        *,
        quiet_seconds: float = QUIET_SECONDS,
        max_seconds: float = MAX_SECONDS,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._database = database
        self._pauses = pauses
        self._quiet_seconds = quiet_seconds
        self._max_seconds = max_seconds
        self._is_file = database.path is not None
        self._is_wanted = asyncio.Event()
        self._has_text = False

    def touch(self, *, text: bool = False) -> None:
        """Schedule a clean-up after a deletion; `text`: of memories, so that the full text is merged as well."""
        self._has_text = self._has_text or text
        self._is_wanted.set()

    async def run(self) -> None:
        """Clean up after deletions, for as long as the server lives."""
        while self._is_file:
            await self._is_wanted.wait()
            await self._wait_until_quiet()
            if not await self.tidy():
                self.touch()
                await asyncio.sleep(self._max_seconds)

    async def _wait_until_quiet(self) -> None:
        latest = time.monotonic() + self._max_seconds
        while self._is_wanted.is_set():
            self._is_wanted.clear()
            try:
                async with asyncio.timeout(min(self._quiet_seconds, latest - time.monotonic())):
                    await self._is_wanted.wait()
            except TimeoutError:
                return

    async def tidy(self) -> bool:
        """Merge the full text if memories were deleted, and truncate the log; whether that succeeded."""
        if not self._is_file:
            return True
        try:
            if self._has_text:
                self._has_text = False
                await self._merge_text()
            return await self._cut_log(self._pauses[:3])
        except WriteFailed as error:
            log.warning("the database could not be cleaned up yet: %s", error)
            return False

    async def erase(self, *, rewrite: bool = True) -> Erased:
        """Leave no bytes of deleted rows in the files. Bounded; nothing else is written while the file is rewritten.

        Without `rewrite` only the log is truncated.
        """
        if self._database.in_memory:
            return Erased()
        try:
            if not self._is_file:
                if rewrite:
                    await asyncio.to_thread(_vacuum_postgres, self._database.engine)
                return Erased()
            if rewrite:
                await self._merge_text()
                await self._database.alone(_rewrite)
            if await self._cut_log(self._pauses):
                return Erased()
            return Erased("a reader, such as a backup, kept the write-ahead log from being truncated")
        except (WriteFailed, DBAPIError) as error:
            log.warning("the files could not be cleared: %s", error)
            return Erased(f"the database could not rewrite its files: {error}")

    async def cut_log(self) -> None:
        """At a start: truncate the log, which may hold what a killed process had deleted. Retried in the background."""
        if not self._is_file:
            return
        try:
            if await self._cut_log(()):
                return
        except WriteFailed as error:
            log.warning("the write-ahead log could not be truncated yet: %s", error)
        self.touch()

    async def _merge_text(self) -> None:
        """Merge all segments into one, which has only the stems of existing rows; in steps between other writes."""
        changed, pages = 2, -MERGE_PAGES  # negative: begin with every segment, however few
        while changed >= 2:  # SQLite's own word for "it did something"
            changed = await self._database.alone(partial(full_text.merge, pages=pages))
            pages = MERGE_PAGES

    async def _cut_log(self, pauses: Sequence[float]) -> bool:
        for pause in (*pauses, None):
            if await self._database.alone(_checkpoint):
                return True
            if pause is not None:
                await asyncio.sleep(pause)
        return False


def _checkpoint(connection: Connection) -> bool:
    """Write the log into the database and truncate it; whether no reader of an older state prevented that."""
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {WAIT_MS}")
    try:
        is_busy: Any = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").first()
        return not is_busy[0]
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_MS}")


def _rewrite(connection: Connection) -> None:
    connection.exec_driver_sql("VACUUM")


def _vacuum_postgres(engine: Engine) -> None:
    """Remove dead rows from tables and indexes with personal data, and their words from the planner's statistics.

    Readers and writers go on meanwhile. A GIN index never drops a word, even if no row has it any more, so it is
    rebuilt, which waits for older transactions to end; a transaction that stays open for a minute makes this fail.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = '10min'")
        for table in personal.with_personal_data(tables.metadata):
            connection.exec_driver_sql(f"VACUUM (INDEX_CLEANUP ON, ANALYZE) {table.name}")
            _drop_statistics_if_empty(connection, table)
        connection.exec_driver_sql("VACUUM pg_catalog.pg_statistic")  # only a warning if our role may not
        connection.exec_driver_sql("SET statement_timeout = '1min'")
        connection.exec_driver_sql(
            f"DROP INDEX IF EXISTS {full_text.INDEX.name}_ccnew"
        )  # of a rebuild that was interrupted
        connection.exec_driver_sql(f"REINDEX INDEX CONCURRENTLY {full_text.INDEX.name}")


def _drop_statistics_if_empty(connection: Connection, table: Table) -> None:
    """Drop an empty table's statistics, which ANALYZE leaves as they were, by giving its columns the type they have.

    The statement waits for readers of the table, and later queries wait behind it: at most LOCK_MS, then it fails.
    """
    has_rows = connection.execute(select(exists(table.select()))).scalar()
    if has_rows or not connection.execute(_HAS_STATISTICS, {"table": table.name}).scalar():
        return
    texts = [column for column in table.columns if isinstance(column.type, (Text, LargeBinary))]
    given = [f"ALTER {column.name} TYPE {column.type.compile(connection.dialect)}" for column in texts]
    connection.exec_driver_sql(f"SET lock_timeout = {LOCK_MS}")
    connection.exec_driver_sql(f"ALTER TABLE {table.name} {', '.join(given)}")
    connection.exec_driver_sql("SET lock_timeout = 0")
