"""LiveSessions: the warm sessions of this process, each with its log; all others are only in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, Protocol

from app.domain.session import Session
from app.events.journal import Journal
from app.events.log import SessionLog, Tail
from app.events.outbox import Outbox
from app.storage import sessions
from app.storage.engine.database import Database
from app.storage.engine.fence import FOREVER, Lease

IN_USE_SECONDS = 10.0
"""A used session is not evicted for this long: a request may have looked it up and not entered it yet."""


class Store:
    """A database and its journal."""

    def __init__(self, database: Database, *, clock_ms: Callable[[], int]) -> None:
        self.database = database
        self.journal = Journal(database, clock_ms=clock_ms)


class Ownership(Protocol):
    """Who decides, where several servers share the database, which of them works on a session."""

    replica_id: str
    lease: Lease

    def open(self, session_id: str, *, own: bool = False) -> Coroutine[Any, Any, SessionLog | None]:
        """See `Sharing.open`. Called once at a time for each session."""
        ...


class LiveSessions:
    """Opens, keeps and evicts session logs.

    Bounded: above `limit`, or when those that rest take more than `max_bytes`, the least recently used sessions without
    readers and turns are evicted; the next request loads them again. Ephemeral sessions are stored in `ephemeral`, a
    database in memory, and are never evicted.
    """

    def __init__(
        self,
        durable: Store,
        ephemeral: Store,
        *,
        ring_bytes: int = 262_144,
        limit: int = 2048,
        max_bytes: int = 1 << 27,
        clock_ms: Callable[[], int],
        outbox: Outbox | None = None,
    ) -> None:
        self._outbox = outbox
        self.durable = durable
        self.ephemeral = ephemeral
        self._ring_bytes = ring_bytes
        self._limit = limit
        self._evict_above = limit
        self._max_bytes = max_bytes
        self._evict_above_bytes = max_bytes
        self._weights: dict[str, int] = {}
        self._bytes = 0
        self._clock_ms = clock_ms
        self._logs: dict[str, SessionLog] = {}
        self._opening: dict[str, asyncio.Future[SessionLog | None]] = {}
        self.ownership: Ownership | None = None
        """Set where several servers share the database."""
        self.make_tail: Callable[[SessionLog], Tail | None] | None = None
        """Makes the tail of a session that this server owns; `None` where servers share none."""
        self.erase_tail: Callable[[str], Awaitable[None]] = _nothing_to_erase
        """Deletes what the tail has of a session."""

    def store_of(self, session_log: SessionLog) -> Store:
        return self.ephemeral if session_log.session.ephemeral else self.durable

    def warm(self, session_id: str) -> SessionLog | None:
        """The session if it is warm, and no other server has to be asked for it; marks it as the most recently used."""
        session_log = self._logs.pop(session_id, None)
        if session_log is None:
            return None
        self._logs[session_id] = session_log
        session_log.used_clock = monotonic()
        return session_log if session_log.elsewhere is None else None

    def peek(self, session_id: str) -> SessionLog | None:
        """The session if it is warm; does not count as a use."""
        return self._logs.get(session_id)

    async def open(self, session_id: str) -> SessionLog | None:
        """The session, warm or read from the database; `None` if there is no such row.

        Raises:
            Unavailable: the database did not answer.
        """
        session_log = self.warm(session_id)
        if session_log is not None:
            return session_log
        opening = self._opening.get(session_id)
        if opening is None:
            opening = self._begin_to_open(session_id, self._load(session_id))
        return await asyncio.shield(opening)

    def _begin_to_open(
        self, session_id: str, load: Coroutine[Any, Any, SessionLog | None]
    ) -> asyncio.Future[SessionLog | None]:
        opening = asyncio.ensure_future(load)
        self._opening[session_id] = opening
        opening.add_done_callback(lambda _: self._opening.pop(session_id, None))
        return opening

    async def _load(self, session_id: str) -> SessionLog | None:
        if self.ownership is not None:
            found = await self.ownership.open(session_id)
            if found is not None:
                found.used_clock = monotonic()
            return found or self._logs.get(session_id)
        session = await self.durable.database.read(lambda connection: sessions.find(connection, session_id))
        if session is None:
            return self._logs.get(session_id)
        return self._logs.get(session_id) or self.add(session)

    async def own(self, session_id: str) -> SessionLog | None:
        """The session, for work that only its owner can do; `None` if there is none.

        Raises:
            Unavailable: also when another server does not give it up in time.
        """
        if self.ownership is None:
            return await self.open(session_id)
        while (opening := self._opening.get(session_id)) is not None:
            await asyncio.wait([opening])
        session_log = self.warm(session_id)
        if session_log is not None:
            return session_log
        return await asyncio.shield(self._begin_to_open(session_id, self.ownership.open(session_id, own=True)))

    def add(self, session: Session) -> SessionLog:
        """Add a session that was just created or loaded."""
        database = (self.ephemeral if session.ephemeral else self.durable).database
        lease = self.ownership.lease if self.ownership is not None else FOREVER
        session_log = SessionLog(session, database, ring_bytes=self._ring_bytes, clock_ms=self._clock_ms, lease=lease)
        session_log.on_rest = self._weigh
        session_log.outbox = self._outbox
        if self.make_tail is not None:
            session_log.tail = self.make_tail(session_log)
        self._logs[session.session_id] = session_log
        if len(self._logs) > self._evict_above:
            self._evict()
        return session_log

    def remove(self, session_id: str) -> None:
        session_log = self._logs.pop(session_id, None)
        if session_log is not None:
            self._bytes -= self._weights.pop(session_id, 0)
            session_log.desk = None  # the two hold each other, and the history is large: do not wait for the collector

    def _weigh(self, session_log: SessionLog) -> None:
        """A session rests: note what it takes, and make room if all of them take too much."""
        session_id = session_log.session.session_id
        if self._logs.get(session_id) is not session_log:
            return
        weight = session_log.weight
        self._bytes += weight - self._weights.get(session_id, 0)
        self._weights[session_id] = weight
        if self._bytes > self._evict_above_bytes:
            self._evict()

    def __len__(self) -> int:
        return len(self._logs)

    @property
    def bytes(self) -> int:
        """Approximate bytes of the sessions, as they were when they rested last."""
        return self._bytes

    @property
    def readers(self) -> int:
        return sum([session_log.readers for session_log in self._logs.values()])

    def all(self) -> list[SessionLog]:
        return list(self._logs.values())

    def is_unused(self, session_id: str) -> bool:
        """Whether the session has no readers and no turns, and no request can hold it."""
        if session_id in self._opening:
            return False
        session_log = self._logs.get(session_id)
        return session_log is None or (
            session_log.used_clock <= monotonic() - IN_USE_SECONDS and self.is_droppable(session_log)
        )

    async def opened(self, session_id: str) -> SessionLog | None:
        """The session if it is warm, or being opened at the moment."""
        if (opening := self._opening.get(session_id)) is not None:
            await asyncio.wait([opening])
        return self._logs.get(session_id)

    async def drop(self, session_id: str) -> None:
        """Remove a session whose rows were deleted, also if a request is loading it at the moment."""
        if (opening := self._opening.get(session_id)) is not None:
            await asyncio.wait([opening])
        self.remove(session_id)

    def is_droppable(self, session_log: SessionLog) -> bool:
        """Whether nobody needs this object: no reader, no turn, nothing that is not stored."""
        return (
            session_log.is_idle
            and not session_log.is_busy
            and not session_log.session.ephemeral
            and not session_log.is_pinned
        )

    def _evict(self) -> None:
        surplus = len(self._logs) - self._limit * 9 // 10 if len(self._logs) > self._limit else 0
        surplus_bytes = self._bytes - self._max_bytes * 9 // 10 if self._bytes > self._max_bytes else 0
        recently = monotonic() - IN_USE_SECONDS
        dropped: list[str] = []
        for session_id, session_log in self._logs.items():
            is_enough = len(dropped) >= surplus and surplus_bytes <= 0
            if is_enough or session_log.used_clock > recently:
                break
            if self.is_droppable(session_log):
                dropped.append(session_id)
                surplus_bytes -= self._weights.get(session_id, 0)
        for session_id in dropped:
            self.remove(session_id)
        # Sessions in use may exceed the limits: do not scan them again each time one is added or rests.
        self._evict_above = max(self._limit, len(self._logs) + self._limit // 10)
        self._evict_above_bytes = max(self._max_bytes, self._bytes + self._max_bytes // 10)


async def _nothing_to_erase(session_id: str) -> None:
    """There is no tail."""
