"""Endings: a session is marked complete, expires, or (in memory only) fades away. None of them cuts a turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from app.domain.errors import Unavailable, session_over
from app.domain.event import EventKind
from app.domain.session import Session, SessionStatus
from app.events.live import LiveSessions
from app.events.log import BLOCK, SessionLog
from app.observability.tasks import Tasks
from app.sessions.termination import add_forgetting
from app.storage import events, sessions
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.memories import Removed

log_ = logging.getLogger(__name__)

EPHEMERAL_SECONDS = 60.0


class Endings:
    """Ends sessions, at somebody's wish or when their time is up."""

    def __init__(
        self,
        live: LiveSessions,
        *,
        clock_ms: Callable[[], int],
        timeout_ms: int | None = None,
        max_duration_ms: int | None = None,
        retention_ms: int | None = None,
    ) -> None:
        self._live = live
        self._clock_ms = clock_ms
        self._timeout_ms = timeout_ms
        self._max_duration_ms = max_duration_ms
        self._retention_ms = retention_ms
        self._tasks = Tasks()
        self.on_over: Callable[[SessionLog], None] | None = None
        """Called when a session has ended or expired."""
        self.on_erased: Callable[[Removed], None] | None = None
        """Called when the rows of a session are gone, for what is left of them in caches and files."""

    def expires_ms(self, session: Session) -> int | None:
        """When the session expires if nothing happens; `None` if never."""
        if session.status is not SessionStatus.ACTIVE:
            return None
        ends = []
        if self._timeout_ms is not None:
            ends.append(session.active_ms + self._timeout_ms)
        if self._max_duration_ms is not None:
            ends.append(session.created_ms + self._max_duration_ms)
        return min(ends, default=None)

    async def end(self, log: SessionLog) -> None:
        """Mark the session complete: no more messages from now on; an open turn is not cut. Idempotent."""
        await self._end(log, SessionStatus.ENDED)

    async def expire(self, log: SessionLog) -> None:
        await self._end(log, SessionStatus.EXPIRED)

    async def _end(self, log: SessionLog, status: SessionStatus) -> None:
        if log.session.status is not SessionStatus.ACTIVE or log.session.ending is not None or log.over is not None:
            return
        before = log.session
        log.session = replace(before, ending=status)  # no await before: from here on messages are refused
        if not log.is_busy:
            try:
                await self._write_end(log)
            except Unavailable:
                log.session = replace(log.session, ending=None)
                raise
            return
        unit = UnitOfWork(before.session_id)
        sessions.add_end(
            unit,
            status=SessionStatus.ACTIVE,
            ending=status,
            now=None,
            last=before.last_seq,
            reserved=log.reserved_seq,
        )
        try:
            await commit(self._live, log, unit)
        except Unavailable:
            log.session = replace(log.session, ending=None)
            raise
        await self._write_end_if_idle(log)  # the last turn may have ended while the wish was being written

    async def _write_end_if_idle(self, log: SessionLog) -> None:
        if not log.is_busy:
            await self._write_end(log)

    async def _write_end(self, log: SessionLog) -> None:
        """The session is over now: row, event, and every reader hears of it."""
        status = log.session.ending
        if status is None or log.session.status is not SessionStatus.ACTIVE or log.over is not None:
            return
        now = self._clock_ms()
        fields: dict[str, object] = {"session_id": log.session.session_id}
        if status is SessionStatus.EXPIRED:
            fields["reason"] = "expired"
        log.session = replace(log.session, status=status, ending=None, ended_ms=now)
        fact = log.take_fact(EventKind.SESSION_ENDED, fields)
        reserved = max(log.reserved_seq, log.last_seq + BLOCK)
        unit = UnitOfWork(log.session.session_id)
        sessions.add_end(unit, status=status, ending=None, now=now, last=log.last_seq, reserved=reserved)
        events.add_fact(unit, seq=fact.first, kind=fact.kind.value, turn_id=None, fact=fact.fact, created_ms=fact.at_ms)
        try:
            await commit(self._live, log, unit)
        except Unavailable:
            log.void(fact)
            log.session = replace(log.session, status=SessionStatus.ACTIVE, ending=status, ended_ms=None)
            raise
        log.reserved_seq = reserved
        log.session = replace(log.session, last_seq=log.last_seq, reserved_seq=reserved)
        log.publish(fact)
        if self.on_over is not None:
            self.on_over(log)

    def watch(self, log: SessionLog) -> None:
        """Hear of it when the last turn of this session is over."""
        log.on_idle = lambda: self.on_idle(log)

    def on_idle(self, log: SessionLog) -> None:
        """The last turn is over (or there was none yet): settle a wish to end, or begin to fade."""
        if log.session.ending is not None:
            self._tasks.start(self._settle_ending(log), name=f"end of {log.session.session_id}")
        elif log.session.ephemeral:
            asyncio.get_running_loop().call_later(EPHEMERAL_SECONDS, self._drop_ephemeral, log, log.last_seq)

    async def _settle_ending(self, log: SessionLog) -> None:
        try:
            await self._write_end(log)
        except Unavailable as error:
            log_.warning("session %s could not be ended yet: %s", log.session.session_id, error)

    def _drop_ephemeral(self, log: SessionLog, last_seq: int) -> None:
        if log.is_busy or log.last_seq != last_seq or log.over is not None:
            return
        log.publish(
            log.take_fact(EventKind.SESSION_ENDED, {"session_id": log.session.session_id, "reason": "ephemeral"})
        )
        log.over = SessionStatus.ENDED
        self._live.remove(log.session.session_id)
        session_id = log.session.session_id
        self._tasks.start(self._erase_ephemeral(session_id), name=f"erasure of {session_id}")

    async def _erase_ephemeral(self, session_id: str) -> None:
        unit = UnitOfWork(session_id)
        sessions.add_erase(unit)
        await self._live.ephemeral.database.submit(unit)

    def is_due(self, log: SessionLog) -> bool:
        """Too old, or idle for too long; a busy session is never idle."""
        now, session = self._clock_ms(), log.session
        if self._max_duration_ms is not None and session.created_ms + self._max_duration_ms <= now:
            return True
        return self._timeout_ms is not None and not log.is_busy and session.active_ms + self._timeout_ms <= now

    async def expire_due(self, *, limit: int = 200) -> int:
        """Expire what is due, `limit` sessions at most; returns how many were looked at."""
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
            log = await self._live.open(session_id)
            if log is not None and log.session.status is SessionStatus.ACTIVE and self.is_due(log):
                self.watch(log)
                await self.expire(log)
        return len(due)

    async def delete_old(self, *, limit: int = 200) -> int:
        """Delete sessions that were over before the retention, `limit` at most; returns how many.

        Everything of them goes, and no tombstone stays: their ids are free again. One that somebody reads, or has
        just used, is left for the next sweep. Raises WriteFailed.
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
            removed = add_forgetting(unit)
            # One at a time: messages that are being accepted wait for one session's rows, not for all of them.
            await self._live.durable.database.submit(unit)
            await self._live.forget(session_id)
            deleted += 1
            if self.on_erased is not None:
                self.on_erased(removed)
        return deleted

    async def settle(self) -> None:
        """After a restart: sessions whose end was asked for while a turn was open."""
        waiting = await self._live.durable.database.read(sessions.ending)
        for session_id in waiting:
            log = await self._live.open(session_id)
            if log is not None:
                self.watch(log)
                if not log.is_busy:
                    await self._settle_ending(log)

    async def close(self) -> None:
        await self._tasks.cancel()


async def commit(live: LiveSessions, log: SessionLog, unit: UnitOfWork) -> None:
    """Write a change of a session. Raises Unavailable, or SessionOver when it is terminated."""
    try:
        await asyncio.shield(live.store_of(log).database.submit(unit))
    except WriteFailed as error:
        raise Unavailable(f"The change could not be stored: {error}") from error
    except WriteConflict:
        raise session_over("terminated", log.session.session_id) from None
