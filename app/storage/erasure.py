"""Erasure: what was deleted becomes unreadable in the database's files, too.

SQLite overwrites with zeros what is deleted (`secure_delete`, dialect.py). Three things are left to do here: the full
text keeps the stems of deleted memories until its segments are merged; the write-ahead log keeps old pages until it is
cut off; and a page that was split may keep a copy of a row that moved to another page, which only writing the whole
file anew removes (measured: one row in thousands). Postgres keeps dead rows and their index entries until a VACUUM, and
samples of what they said in its statistics until an ANALYZE.
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
"""Pages of full text merged at a time: a few milliseconds, between two batches of the writer."""
WAIT_MS = 100
"""How long an attempt to cut the log off may wait for readers; nothing is written meanwhile."""
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)
"""Seconds between attempts to cut the log off, while somebody (a backup) reads an older state."""
_HAS_STATISTICS = text(
    "SELECT EXISTS (SELECT FROM pg_stats WHERE schemaname = current_schema() AND tablename = :table)"
)
LOCK_MS = 2_000
"""How long Postgres may wait for a lock that keeps others waiting."""
QUIET_SECONDS, MOST_SECONDS = 1.0, 30.0
"""What was deleted in passing is tidied up when it has been quiet for so long, at the latest after so long."""


@dataclass(frozen=True, slots=True)
class Erased:
    """Whether the files hold no more than the rows. `problem`: what stood in the way, for people."""

    problem: str | None = None

    @property
    def is_complete(self) -> bool:
        return self.problem is None


class Erasure:
    """Sees to the files of one database. `run` is its background task."""

    def __init__(
        self,
        database: Database,
        *,
        quiet_seconds: float = QUIET_SECONDS,
        most_seconds: float = MOST_SECONDS,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._database = database
        self._pauses = pauses
        self._quiet_seconds = quiet_seconds
        self._most_seconds = most_seconds
        self._is_file = database.path is not None
        self._is_wanted = asyncio.Event()
        self._has_text = False

    def touch(self, *, text: bool = False) -> None:
        """Something was deleted; with `text` memories, too. Tidied up in a while, in the background."""
        self._has_text = self._has_text or text
        self._is_wanted.set()

    async def run(self) -> None:
        """Tidy up after deletions, for as long as the server lives."""
        while self._is_file:
            await self._is_wanted.wait()
            await self._quiet()
            if not await self.tidy():
                self.touch()
                await asyncio.sleep(self._most_seconds)

    async def _quiet(self) -> None:
        """Until nothing was deleted for a while."""
        latest = time.monotonic() + self._most_seconds
        while self._is_wanted.is_set():
            self._is_wanted.clear()
            try:
                async with asyncio.timeout(min(self._quiet_seconds, latest - time.monotonic())):
                    await self._is_wanted.wait()
            except TimeoutError:
                return

    async def tidy(self) -> bool:
        """Merge the full text if it needs it, and cut the log off; whether that succeeded."""
        if not self._is_file:
            return True
        try:
            if self._has_text:
                self._has_text = False
                await self._merge_text()
            return await self._cut_log(self._pauses[:3])
        except WriteFailed as error:
            log.warning("the database could not be tidied up yet: %s", error)
            return False

    async def erase(self, *, rewrite: bool = True) -> Erased:
        """Leave nothing of deleted rows in the files. Bounded; nothing else is written while the file is rewritten.

        Without `rewrite` the log is cut off, and that is all.
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
            return Erased("a reader, such as a backup, kept the write-ahead log from being cut off")
        except (WriteFailed, DBAPIError) as error:
            log.warning("the files could not be cleared: %s", error)
            return Erased(f"the database could not rewrite its files: {error}")

    async def cut_log(self) -> None:
        """At a start: what a process that died had deleted may still be in the log. If not now, then in a while."""
        if not self._is_file:
            return
        try:
            if await self._cut_log(()):
                return
        except WriteFailed as error:
            log.warning("the write-ahead log could not be cut off yet: %s", error)
        self.touch()

    async def _merge_text(self) -> None:
        """All segments into one, which knows only what is there; a step at a time between other writes."""
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
    """Write the log into the database and cut it off; not while somebody reads an older state."""
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {WAIT_MS}")
    try:
        is_busy: Any = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").first()
        return not is_busy[0]
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_MS}")


def _rewrite(connection: Connection) -> None:
    connection.exec_driver_sql("VACUUM")


def _vacuum_postgres(engine: Engine) -> None:
    """Remove dead rows from every table and index, and their words from what the planner knows of columns.

    Readers and writers go on meanwhile. A GIN index never drops a word, even one that no row has any more: that one is
    built anew, which waits for older transactions to end; one that stays open for a minute is a problem to be told.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = '10min'")
        for table in personal.with_personal_data(tables.metadata):
            connection.exec_driver_sql(f"VACUUM (INDEX_CLEANUP ON, ANALYZE) {table.name}")
            _drop_statistics_if_empty(connection, table)
        connection.exec_driver_sql("VACUUM pg_catalog.pg_statistic")  # a warning where that is not ours to do
        connection.exec_driver_sql("SET statement_timeout = '1min'")
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {full_text.INDEX.name}_ccnew")  # of one that was broken off
        connection.exec_driver_sql(f"REINDEX INDEX CONCURRENTLY {full_text.INDEX.name}")


def _drop_statistics_if_empty(connection: Connection, table: Table) -> None:
    """ANALYZE leaves an empty table's statistics as they were; columns that are given a type have none.

    It waits for whoever reads the table, and all others wait behind it: not for long, else it is a problem to be told.
    """
    has_rows = connection.execute(select(exists(table.select()))).scalar()
    if has_rows or not connection.execute(_HAS_STATISTICS, {"table": table.name}).scalar():
        return
    texts = [column for column in table.columns if isinstance(column.type, (Text, LargeBinary))]
    given = [f"ALTER {column.name} TYPE {column.type.compile(connection.dialect)}" for column in texts]
    connection.exec_driver_sql(f"SET lock_timeout = {LOCK_MS}")
    connection.exec_driver_sql(f"ALTER TABLE {table.name} {', '.join(given)}")
    connection.exec_driver_sql("SET lock_timeout = 0")
