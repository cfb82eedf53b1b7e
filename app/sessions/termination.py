"""Termination: a session is killed for good, and everything of it erased."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.domain.errors import Unavailable
from app.domain.event import EventKind
from app.domain.session import SessionStatus, StopReceipt
from app.events.live import LiveSessions
from app.events.log import SessionLog, StopOrder
from app.memory.scope import session_audience
from app.observability.tasks import Tasks
from app.sessions.tombstones import Tombstones, receipt_json
from app.storage import memories
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.memories import Removed

log_ = logging.getLogger(__name__)

UPSTREAM_CLOSE_SECONDS = 2.0


class Terminations:
    """Kills sessions."""

    def __init__(self, live: LiveSessions, tombstones: Tombstones, *, clock_ms: Callable[[], int]) -> None:
        self._live = live
        self._tombstones = tombstones
        self._clock_ms = clock_ms
        self._tasks = Tasks()
        self.on_erased: Callable[[Removed], None] | None = None
        """Called when the rows of a session are gone, for what is left of them in caches and files."""
        self.before_burial: Callable[[SessionLog, bool], Awaitable[None]] | None = None
        """Awaited before they go, with `forget_all`; may raise WriteFailed."""

    async def terminate(self, log: SessionLog, *, forget_all: bool = False) -> StopReceipt:
        """Kill the session for good: stop the model, end every stream, erase everything, bury the id.

        What is remembered of it for other sessions, too, stays; with `forget_all` that goes as well.

        Raises:
            Unavailable: it is dead in this process, but the database cannot write that yet; it is
                tried again until it stands.
        """
        # No await before these lines: a client that reconnects must find the session dead already.
        log.over = SessionStatus.TERMINATED
        ordered_ms = self._clock_ms()
        order = log.on_terminate() if log.on_terminate is not None else StopOrder([], None, lambda: 0)
        log.cut_at = log.last_seq
        session = log.session
        facts = []
        for turn_id, message_id in order.turns:
            fields = {
                "status": "cancelled",
                "reason": "session_terminated",
                "turn_id": turn_id,
                "message_id": message_id,
                "usage": None,
                "timings": None,
            }
            facts.append(log.take_fact(EventKind.TURN_FINISHED, fields, turn_id=turn_id))
        facts.append(log.take_fact(EventKind.SESSION_TERMINATED, {"session_id": session.session_id}))
        log.is_pinned = True
        first_turn = order.turns[0][0] if order.turns else None

        def receipt(closed_ms: int | None) -> StopReceipt:
            return StopReceipt(
                session.session_id, first_turn, log.last_seq, ordered_ms, closed_ms, order.tokens_after()
            )

        self._tombstones.fresh[session.session_id] = receipt_json(receipt(None))
        written = asyncio.ensure_future(self._bury(log, receipt(None), forget_all))
        failure: WriteFailed | None = None
        try:
            await asyncio.shield(written)
        except WriteFailed as error:
            failure = error
        except WriteConflict:
            log_.warning("session %s had a tombstone already", session.session_id)
        log.publish(*facts)
        closed_ms = await self._await_close(order)
        final = receipt(closed_ms)
        self._tombstones.fresh[session.session_id] = receipt_json(final)
        if failure is not None:
            self._tasks.start(self._bury_until_written(log, final, forget_all), name=f"burial of {session.session_id}")
            raise Unavailable(f"The session is stopped, but the database cannot write that yet: {failure}")
        if closed_ms is not None:
            await self._amend(log, final)
        self._forget_buried(log)
        return final

    async def _await_close(self, order: StopOrder) -> int | None:
        if order.upstream_closed is None:
            return None
        try:
            return await asyncio.wait_for(asyncio.shield(order.upstream_closed), UPSTREAM_CLOSE_SECONDS)
        except TimeoutError:
            return None

    async def _bury(self, log: SessionLog, receipt: StopReceipt, forget_all: bool) -> None:
        if log.session.ephemeral:  # its id, too, must stay dead after a restart; first, for only this may fail
            await self._live.durable.database.submit(self._tombstones.grave(log.session, receipt))
        if self.before_burial is not None:
            await self.before_burial(log, forget_all)
        unit = self._tombstones.burial(log.session, receipt)
        removed = add_forgetting(unit, forget_all=forget_all)
        await self._live.store_of(log).database.submit(unit)
        if self.on_erased is not None and not log.session.ephemeral:
            self.on_erased(removed)

    async def _bury_until_written(self, log: SessionLog, receipt: StopReceipt, forget_all: bool) -> None:
        pause = 0.2
        while True:
            await asyncio.sleep(pause)
            try:
                await self._bury(log, receipt, forget_all)
            except WriteFailed:
                pause = min(pause * 2, 5)
            except WriteConflict:
                break
            else:
                break
        self._forget_buried(log)

    async def _amend(self, log: SessionLog, receipt: StopReceipt) -> None:
        try:
            await self._live.durable.database.submit(self._tombstones.amendment(log.session, receipt))
        except (WriteFailed, WriteConflict) as error:
            log_.warning("the receipt of a stop could not be completed: %s", error)

    def _forget_buried(self, log: SessionLog) -> None:
        """From here on the tombstone answers. Readers still hold the log and get its last frames."""
        log.is_pinned = False
        self._live.remove(log.session.session_id)
        self._tombstones.fresh.pop(log.session.session_id, None)

    async def close(self) -> None:
        await self._tasks.cancel()


def add_forgetting(unit: UnitOfWork, *, forget_all: bool = False) -> Removed:
    """Have the unit that erases a session forget what it alone remembers, or all that came from it."""
    audience = None if forget_all else session_audience(unit.session_id)
    return memories.delete_of_session(unit, audience=audience)
