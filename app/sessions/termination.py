"""Termination: stop a session, erase everything of it, and never use its id again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.domain.errors import Unavailable
from app.domain.event import SessionTerminated, TurnFinished
from app.domain.session import SessionStatus, StopReceipt
from app.domain.turn import TurnState
from app.events.live import LiveSessions
from app.events.log import SessionLog, StopOrder
from app.memory.scope import session_audience
from app.observability.tasks import Tasks
from app.sessions.observer import SessionObserver
from app.sessions.tombstones import Tombstones, receipt_json
from app.storage import memories
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.memories import Removed

log = logging.getLogger(__name__)

UPSTREAM_CLOSE_SECONDS = 2.0


class Terminations:
    """Terminates sessions."""

    def __init__(
        self,
        live: LiveSessions,
        tombstones: Tombstones,
        observer: SessionObserver,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self._live = live
        self._observer = observer
        self._tombstones = tombstones
        self._clock_ms = clock_ms
        self._tasks = Tasks()

    async def terminate(self, session_log: SessionLog, *, forget_all: bool = False) -> StopReceipt:
        """Stop the model, end every stream, erase all rows and insert a tombstone.

        Memories that other sessions may recall are kept; with `forget_all` they are deleted, too.

        Raises:
            Unavailable: the session is stopped in this process, but the database cannot write that yet; the write
                is retried until it succeeds.
        """
        # No await before these lines: a client that reconnects must find the session terminated.
        session_log.over = SessionStatus.TERMINATED
        ordered_ms = self._clock_ms()
        order = session_log.desk.order_stop() if session_log.desk is not None else StopOrder([], None, lambda: 0)
        session_log.cut_at = session_log.last_seq
        session = session_log.session
        facts = [
            session_log.take_fact(TurnFinished(turn_id, TurnState.CANCELLED, message_id, "session_terminated"))
            for turn_id, message_id in order.turns
        ]
        facts.append(session_log.take_fact(SessionTerminated(session.session_id)))
        session_log.is_pinned = True
        first_turn = order.turns[0][0] if order.turns else None

        def receipt(closed_ms: int | None) -> StopReceipt:
            return StopReceipt(
                session.session_id, first_turn, session_log.last_seq, ordered_ms, closed_ms, order.tokens_after()
            )

        self._tombstones.fresh[session.session_id] = receipt_json(receipt(None))
        written = asyncio.ensure_future(self._erase(session_log, receipt(None), forget_all))
        failure: Exception | None = None
        try:
            await asyncio.shield(written)
        except (WriteFailed, Unavailable) as error:
            failure = error
        except WriteConflict:
            log.warning("session %s had a tombstone already", session.session_id)
        session_log.publish(*facts)
        closed_ms = await self._await_close(order)
        final = receipt(closed_ms)
        self._tombstones.fresh[session.session_id] = receipt_json(final)
        if failure is not None:
            self._tasks.start(
                self._erase_until_written(session_log, final, forget_all), name=f"erasure of {session.session_id}"
            )
            raise Unavailable(f"The session is stopped, but the database cannot write that yet: {failure}")
        if closed_ms is not None:
            await self._amend(session_log, final)
        self._let_go(session_log)
        return final

    async def _await_close(self, order: StopOrder) -> int | None:
        if order.upstream_closed is None:
            return None
        try:
            return await asyncio.wait_for(asyncio.shield(order.upstream_closed), UPSTREAM_CLOSE_SECONDS)
        except TimeoutError:
            return None

    async def _erase(self, session_log: SessionLog, receipt: StopReceipt, forget_all: bool) -> None:
        if (
            session_log.session.ephemeral
        ):  # its id, too, must stay refused after a restart; first, because only this may fail
            await self._live.durable.database.submit(self._tombstones.make_tombstone(session_log.session, receipt))
        await self._observer.before_erasure(session_log, forget_all=forget_all)
        unit = self._tombstones.make_erasure(session_log.session, receipt)
        removed = add_deletion_of_memories(unit, forget_all=forget_all)
        await self._live.store_of(session_log).database.submit(unit)
        if not session_log.session.ephemeral:
            self._observer.session_erased(removed)

    async def _erase_until_written(self, session_log: SessionLog, receipt: StopReceipt, forget_all: bool) -> None:
        pause = 0.2
        while True:
            await asyncio.sleep(pause)
            try:
                await self._erase(session_log, receipt, forget_all)
            except (WriteFailed, Unavailable):
                pause = min(pause * 2, 5)
            except WriteConflict:
                break
            else:
                break
        self._let_go(session_log)

    async def _amend(self, session_log: SessionLog, receipt: StopReceipt) -> None:
        try:
            await self._live.durable.database.submit(self._tombstones.make_amendment(session_log.session, receipt))
        except (WriteFailed, WriteConflict) as error:
            log.warning("the receipt of a stop could not be completed: %s", error)

    def _let_go(self, session_log: SessionLog) -> None:
        """Remove the session: the tombstone answers from now on. Readers still have the log and get its last events."""
        session_log.is_pinned = False
        self._live.remove(session_log.session.session_id)
        self._tombstones.fresh.pop(session_log.session.session_id, None)

    async def close(self) -> None:
        await self._tasks.cancel()


def add_deletion_of_memories(unit: UnitOfWork, *, forget_all: bool = False) -> Removed:
    """Have the unit also delete the memories that only the session may recall, or all that came from it."""
    audience = None if forget_all else session_audience(unit.session_id)
    return memories.delete_of_session(unit, audience=audience)
