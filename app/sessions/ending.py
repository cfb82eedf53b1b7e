"""Endings: sessions end on request, expire, or are removed when they are ephemeral. No turn is interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from app.config.server import SessionsConfig
from app.domain.errors import HectorError, Unavailable
from app.domain.event import SessionEnded
from app.domain.session import Session, SessionStatus
from app.events.change import Change
from app.events.elsewhere import at_owner
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.observability.tasks import Tasks
from app.sessions.observer import SessionObserver
from app.sessions.termination import add_deletion_of_memories
from app.storage import sessions
from app.storage.engine.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Pause before the end of a session is stored again after a failed attempt."""
EPHEMERAL_SECONDS = 60.0
"""An ephemeral session is removed this long after its last turn."""


class Endings:
    """Ends sessions, on request or when they expire."""

    def __init__(
        self,
        live: LiveSessions,
        observer: SessionObserver,
        config: SessionsConfig,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self._live = live
        self._observer = observer
        self._clock_ms = clock_ms
        self._timeout_ms = _milliseconds(config.timeout)
        self._max_duration_ms = _milliseconds(config.max_duration)
        self._retention_ms = _milliseconds(config.retention)
        self._tasks = Tasks()
        self._being_written: dict[str, asyncio.Future[None]] = {}

    def expires_ms(self, session: Session) -> int | None:
        """When the session expires without further activity; `None` if never."""
        if session.status is not SessionStatus.ACTIVE:
            return None
        ends = []
        if self._timeout_ms is not None:
            ends.append(session.active_ms + self._timeout_ms)
        if self._max_duration_ms is not None:
            ends.append(session.created_ms + self._max_duration_ms)
        return min(ends, default=None)

    async def end(self, session_log: SessionLog) -> None:
        """End the session: new messages are refused, an open turn is finished. Idempotent."""
        await self._end(session_log, SessionStatus.ENDED)

    async def expire(self, session_log: SessionLog) -> None:
        await self._end(session_log, SessionStatus.EXPIRED)

    @property
    def are_being_written(self) -> bool:
        return bool(self._being_written)

    async def settled(self, session_log: SessionLog) -> None:
        """Wait while an end of the session is being written: until then the session is neither active nor over."""
        while (written := self._being_written.get(session_log.session.session_id)) is not None:
            await asyncio.shield(written)

    @contextmanager
    def _writing(self, session_log: SessionLog) -> Iterator[None]:
        session_id = session_log.session.session_id
        written = self._being_written[session_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            if self._being_written[session_id] is written:  # another end may have begun meanwhile
                del self._being_written[session_id]
            written.set_result(None)

    @at_owner
    async def _end(self, session_log: SessionLog, status: SessionStatus) -> None:
        await self.settled(session_log)
        if (
            session_log.session.status is not SessionStatus.ACTIVE
            or session_log.session.ending is not None
            or session_log.over is not None
        ):
            return
        if not session_log.is_busy:
            await self._write_end(session_log, status)
            return
        with self._writing(session_log):
            await self._write_ending(session_log, status)
        await self._settle_ending(session_log)  # the last turn may have ended while that was being written

    async def _write_ending(self, session_log: SessionLog, status: SessionStatus) -> None:
        """Store that the session ends after its open turn."""
        async with Change(session_log) as change:
            change.set_now(ending=status)  # messages are refused from now on
            sessions.add_end(change.unit, status=SessionStatus.ACTIVE, ending=status, ended_ms=None)

    async def _write_end(self, session_log: SessionLog, status: SessionStatus) -> None:
        """Store the end and its event, and publish it."""
        now = self._clock_ms()
        with self._writing(session_log):
            async with Change(session_log) as change:
                change.set_now(status=status, ending=None, ended_ms=now)
                change.fact(SessionEnded.by(status, session_log.session.session_id))
                sessions.add_end(change.unit, status=status, ending=None, ended_ms=now)
        self._observer.session_over(session_log)

    def session_idle(self, session_log: SessionLog) -> None:
        """No turn is open: store a pending end, or schedule the removal of an ephemeral session."""
        if session_log.session.ending is not None:
            self._tasks.start(self._try_ending(session_log), name=f"end of {session_log.session.session_id}")
        elif session_log.session.ephemeral:
            asyncio.get_running_loop().call_later(
                EPHEMERAL_SECONDS, self._drop_ephemeral, session_log, session_log.last_seq
            )

    async def _settle_ending(self, session_log: SessionLog) -> None:
        """Store an end that was requested while a turn was open. Raises Unavailable."""
        ending = session_log.session.ending
        if session_log.is_busy:
            return
        if ending is not None and session_log.session.status is SessionStatus.ACTIVE and session_log.over is None:
            await self._write_end(session_log, ending)

    async def _try_ending(self, session_log: SessionLog) -> None:
        """Retry until the end is stored: messages are refused already, and readers wait for it."""
        while session_log.over is None:
            try:
                await self._settle_ending(session_log)
            except Unavailable as error:
                log.warning("session %s could not be ended yet: %s", session_log.session.session_id, error)
                await asyncio.wait([session_log.database.next_commit()], timeout=RETRY_SECONDS)
            except HectorError:  # terminated or deleted meanwhile
                return
            else:
                return

    def _drop_ephemeral(self, session_log: SessionLog, last_seq: int) -> None:
        if session_log.is_busy or session_log.last_seq != last_seq or session_log.over is not None:
            return
        session_log.show(SessionEnded(session_log.session.session_id, "ephemeral"))
        session_log.over = SessionStatus.ENDED
        self._live.remove(session_log.session.session_id)
        session_id = session_log.session.session_id
        self._tasks.start(self._erase_ephemeral(session_id), name=f"erasure of {session_id}")

    async def _erase_ephemeral(self, session_id: str) -> None:
        unit = UnitOfWork(session_id)
        sessions.add_erase(unit)
        await self._live.ephemeral.database.submit(unit)

    def is_due(self, session_log: SessionLog) -> bool:
        """Whether the session is too old or idle for too long; a session with an open turn is not idle."""
        now, session = self._clock_ms(), session_log.session
        if self._max_duration_ms is not None and session.created_ms + self._max_duration_ms <= now:
            return True
        return self._timeout_ms is not None and not session_log.is_busy and session.active_ms + self._timeout_ms <= now

    async def expire_due(self, *, limit: int = 200) -> int:
        """Expire sessions that are due, at most `limit`; returns how many were checked."""
        now = self._clock_ms()
        idle_before = now - self._timeout_ms if self._timeout_ms is not None else None
        created_before = now - self._max_duration_ms if self._max_duration_ms is not None else None
        if idle_before is None and created_before is None:
            return 0
        due = await self._live.durable.database.read(
            lambda connection: sessions.due_for_expiry(
                connection, idle_before=idle_before, created_before=created_before, limit=limit
            )
        )
        for session_id in due:
            session_log = await self._live.open(session_id)
            if (
                session_log is not None
                and session_log.session.status is SessionStatus.ACTIVE
                and self.is_due(session_log)
            ):
                await self.expire(session_log)
        return len(due)

    async def delete_old(self, *, limit: int = 200) -> int:
        """Delete sessions that have been over for longer than the retention, at most `limit`; returns how many.

        All their rows are deleted and no tombstone is left: their ids may be used again. Sessions with readers, or
        used a moment ago, are left for the next sweep. Raises WriteFailed.
        """
        if self._retention_ms is None:
            return 0
        over_before = self._clock_ms() - self._retention_ms
        due = await self._live.durable.database.read(
            lambda connection: sessions.over_before(connection, over_before=over_before, limit=limit)
        )
        deleted = 0
        for session_id in due:
            if not self._live.is_unused(session_id):
                continue
            unit = UnitOfWork(session_id)
            sessions.add_erase(unit)
            removed = add_deletion_of_memories(unit)
            # One session per unit, so that new messages wait for the deletion of one session at most.
            await self._live.durable.database.submit(unit)
            await self._live.drop(session_id)
            deleted += 1
            self._observer.session_erased(removed)
        return deleted

    async def settle(self) -> None:
        """After a restart, store the ends that were requested while a turn was open."""
        waiting = await self._live.durable.database.read(sessions.ending)
        for session_id in waiting:
            session_log = await self._live.open(session_id)
            if session_log is None:
                continue
            try:
                await self._settle_ending(session_log)
            except HectorError:
                self.session_idle(session_log)  # retried in the background

    async def close(self) -> None:
        await self._tasks.cancel()


def _milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds() * 1000)
