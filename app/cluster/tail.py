"""Tail: the newest events of open sessions in Redis, where other servers read them at once, and after a death.

Nothing depends on it: the database is the truth. Streams, one key for each session, the number of an entry is that of
its last event; so Redis itself refuses what a server writes that was taken for dead, once its successor has begun.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.cluster import tail_entry, tail_rescue
from app.cluster.tail_reader import BLOCK_MS, TailReader
from app.cluster.tail_writer import OPEN_MS, TailWriter
from app.domain.errors import Unavailable
from app.domain.session import Session
from app.domain.turn import TurnState
from app.events.log import TAIL
from app.storage import events, turns
from app.storage.connection import Connection
from app.storage.engine.database import Database
from app.storage.engine.fence import Lease
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 3.0
CANCEL_SECONDS = 0.5
MOST_RUNS = 10_000
"""Rows of text of one open turn that are compared with the tail; it has fewer entries than that."""


class RedisTail:
    """This server's ends of the tail: `writer` for its own sessions, `reader` for those of the others."""

    def __init__(self, url: str, *, namespace: str, replica_id: str, lease: Lease, confirms: bool) -> None:
        """`namespace`: what the keys of this service begin with; see `TailWriter` for the others. Raises ValueError."""
        connect = partial(
            Redis.from_url,
            url,
            protocol=2,  # what Redis 5 speaks
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_SECONDS,
            single_connection_client=False,
        )
        self._namespace = namespace
        self._client = connect(socket_timeout=ANSWER_SECONDS)
        self._waiting = connect(socket_timeout=BLOCK_MS / 1000 + ANSWER_SECONDS)
        self.writer = TailWriter(self._client, self.key_of, lease, confirms=confirms)
        self.reader = TailReader(self._waiting, self._client, self.key_of, f"{namespace}:bell:{replica_id}")

    def key_of(self, session_id: str) -> str:
        return f"{self._namespace}:s:{session_id}"

    @property
    def is_up(self) -> bool:
        return self.writer.is_up and self.reader.is_up

    async def run(self) -> None:
        """Write and read until cancelled; then the connections are closed."""
        tasks = [
            asyncio.create_task(self.writer.run(), name="writer of the tail"),
            asyncio.create_task(self.reader.run(), name="reader of the tail"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # neither ends by itself
        finally:
            await _end(tasks)
            await self._close()

    async def _close(self) -> None:
        await self.reader.close()
        await self._client.aclose()
        await self._waiting.aclose()

    async def rescue(self, database: Database, session: Session) -> int:
        """Store what the owner before had in the tail and not in the journal; returns how many deltas.

        From then on it can add nothing to the tail. `session` is the row that this server has claimed.

        Raises:
            Unavailable: the database did not answer.
        """
        session_id = session.session_id
        found = await self._fence_and_read(session)
        try:
            entries = tail_rescue.unbroken([tail_entry.decode(fields[tail_entry.FIELD]) for fields in found])
        except (ValueError, TypeError) as error:
            log.warning("session %s goes on from what is in the database: %s", session_id, error)
            return 0
        open_turns = await database.read(partial(turns.unfinished_of, session_id=session_id))
        running = next((turn for turn in open_turns if turn.state is not TurnState.QUEUED), None)
        if running is None or not entries:
            return 0
        after, upto = entries[0].after, entries[-1].upto

        def read(connection: Connection) -> list[tuple[int, int]]:
            rows = events.runs_after(connection, session_id, after=after, upto=upto, limit=MOST_RUNS)
            return [(row.first, row.last) for row in rows]

        unit = UnitOfWork(session_id)
        count = tail_rescue.add_to(unit, entries, await database.read(read), running.turn_id)
        try:
            await database.submit(unit)
        except (WriteFailed, WriteConflict) as error:
            raise Unavailable(f"What was said before the server died cannot be stored: {error}") from error
        return count

    async def _fence_and_read(self, session: Session) -> list[dict[bytes, bytes]]:
        """The fields of the entries of a session whose owner adds nothing any more."""
        key = self.key_of(session.session_id)
        fence = session.reserved_seq - TAIL + 1  # above all text of the owner before, below what follows it
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command("XADD", key, f"{fence}-0", tail_entry.FENCE, b"")
        pipeline.execute_command("PEXPIRE", key, OPEN_MS)
        pipeline.execute_command("XRANGE", key, "-", "+")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                _, _, found = await pipeline.execute(raise_on_error=False)  # the fence may be there already
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("session %s goes on from what is in the database: %s", session.session_id, error or "time out")
            return []
        if isinstance(found, Exception):
            log.warning("session %s goes on from what is in the database: %s", session.session_id, found)
            return []
        entries: list[tuple[bytes, Any]] = found
        return [fields for _, fields in entries if tail_entry.FIELD in fields]


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel them until they have ended: a client that is cancelled while it connects or answers may take no notice."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_SECONDS)
