"""Termination: stop a session, erase everything of it, and never use its id again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from app.domain.errors import Unavailable
from app.domain.event import SessionTerminated, TurnFinished
from app.domain.session import SessionStatus, StopReceipt
from app.domain.turn import TurnState
from app.events.elsewhere import at_owner
from app.events.live import LiveSessions
from app.events.log import TAIL_OF_ENDS, SessionLog, StopOrder
from app.events.run import Run
from app.memory.scope import session_audience
from app.observability.tasks import Tasks
from app.sessions.observer import SessionObserver
from app.sessions.tombstones import Pending, Tombstones
from app.storage import acts, memories
from app.storage.engine.unit_of_work import UnitOfWork, Unwritable, WriteConflict, WriteFailed
from app.storage.memories import Removed

log = logging.getLogger(__name__)

UPSTREAM_CLOSE_SECONDS = 2.0
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0
"""Between two attempts to store a termination; the first commit of anything else cuts the pause short."""
CLOSE_SECONDS = 3.0
"""How long the shutdown waits for terminations that are not stored yet."""


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

    @at_owner
    async def terminate(self, session_log: SessionLog, *, forget_all: bool = False) -> StopReceipt:
        """Stop the model, end every stream, erase all rows and insert a tombstone.

        Memories that other sessions may recall are kept; with `forget_all` they are deleted, too.

        Raises:
            Unavailable: the session is stopped in this process, but the database cannot write that yet; the write
                is retried until it succeeds.
            SessionOver: the session was terminated before.
        """
        # No await before these lines: a client that reconnects must find the session terminated.
        if session_log.over is SessionStatus.TERMINATED:
            raise await self._tombstones.refusal(session_log.session.session_id)
        session_log.over = SessionStatus.TERMINATED
        ordered_ms = self._clock_ms()
        order = session_log.desk.order_stop() if session_log.desk is not None else StopOrder([], None, lambda: 0)
        session_log.cut()
        session_log.is_pinned = True
        facts = _take_facts(session_log, order)
        session_id, first_turn = session_log.session.session_id, order.turns[0][0] if order.turns else None
        pending = Pending(session_log.session, lambda: self._store(session_log, pending, forget_all))

        def complete_receipt(closed_ms: int | None) -> None:
            pending.receipt = StopReceipt(
                session_id, first_turn, session_log.last_seq, ordered_ms, closed_ms, order.tokens_after()
            )

        complete_receipt(None)
        pending.facts = facts
        self._tombstones.pending[session_id] = pending
        failure = await asyncio.shield(
            self._tasks.start(
                self._carry_out(session_log, order, facts, pending, complete_receipt), name=f"end of {session_id}"
            )
        )
        if failure is not None:
            raise failure
        return pending.receipt

    async def confirm(self, session_log: SessionLog) -> None:
        """Return once the termination of a terminated session is stored. Raises Unavailable: it is not yet."""
        await self._tombstones.refusal(session_log.session.session_id)

    async def _carry_out(
        self,
        session_log: SessionLog,
        order: StopOrder,
        facts: list[Run],
        pending: Pending,
        complete_receipt: Callable[[int | None], None],
    ) -> Unavailable | None:
        """Store the termination, tell the readers, and complete the receipt. Returns why it is not stored yet."""
        failure: Unavailable | None = None
        try:
            await pending.attempt()
        except Unavailable as error:
            failure = error
            # Readers are told now: they must not wait for the disk.
            session_log.void(*facts)
            session_log.skip_to_tail(min(len(facts), TAIL_OF_ENDS))
            pending.facts = facts = _take_facts(session_log, order)
        session_log.publish(*facts)
        closed_ms = await self._await_close(order)
        complete_receipt(closed_ms)
        if failure is not None:
            log.warning("session %s is stopped and not erased yet: %s", session_log.session.session_id, failure)
            self._tasks.start(
                self._store_until_written(session_log, pending), name=f"erasure of {session_log.session.session_id}"
            )
            return failure
        if closed_ms is not None:
            await self._amend(pending)
        self._let_go(session_log)
        return None

    async def _await_close(self, order: StopOrder) -> int | None:
        if order.upstream_closed is None:
            return None
        try:
            return await asyncio.wait_for(asyncio.shield(order.upstream_closed), UPSTREAM_CLOSE_SECONDS)
        except TimeoutError:
            return None

    async def _store(self, session_log: SessionLog, pending: Pending, forget_all: bool) -> None:
        """One attempt to erase the session. Raises Unavailable: nothing is erased yet."""
        session, receipt = session_log.session, pending.receipt
        try:
            if session.ephemeral:  # its id, too, must stay refused after a restart; first, because only this may fail
                await self._insert_tombstone(pending)
            await self._keep_rest(session_log, forget_all=forget_all)
            await self._terminate_children(session_log, forget_all=forget_all)
            unit = self._tombstones.make_erasure(session, receipt)
            removed = add_deletion_of_memories(unit, forget_all=forget_all)
            wake = _add_news(unit, session_log, pending.facts, forget_all=forget_all)
            await self._live.store_of(session_log).database.submit(unit)
        except (WriteFailed, Unavailable) as error:
            raise Unavailable(f"The session is stopped, but the database cannot write that yet: {error}") from error
        except WriteConflict:
            log.warning("session %s had a tombstone already", session.session_id)
        else:
            wake()
            await self._live.erase_tail(session.session_id)
            if not session.ephemeral:
                self._observer.session_erased(removed)

    async def _terminate_children(self, session_log: SessionLog, *, forget_all: bool) -> None:
        """The sessions that calls of this one began go with it, before it: afterwards nobody could find them."""
        query = partial(acts.children, session_id=session_log.session.session_id)
        for session_id in await session_log.database.read(query):
            child = await self._live.open(session_id)
            if child is not None and child.over is not SessionStatus.TERMINATED:
                await self.terminate(child, forget_all=forget_all)

    async def _keep_rest(self, session_log: SessionLog, *, forget_all: bool) -> None:
        """Let others keep what they are to keep of the session. A fault does not stop the erasure.

        Raises:
            Unavailable: the database did not answer.
        """
        try:
            await self._observer.before_erasure(session_log, forget_all=forget_all)
        except Unavailable as error:
            if not isinstance(error.__cause__, Unwritable):
                raise
            log.warning("not all of session %s is remembered: %s", session_log.session.session_id, error)
        except Exception:
            log.exception("not all of session %s is remembered, by our fault", session_log.session.session_id)

    async def _insert_tombstone(self, pending: Pending) -> None:
        try:
            await self._live.durable.database.submit(self._tombstones.make_tombstone(pending.session, pending.receipt))
        except WriteConflict:
            log.debug("session %s had a tombstone already", pending.session.session_id)

    async def _store_until_written(self, session_log: SessionLog, pending: Pending) -> None:
        """Try again after a pause, and at once when the database has written something else."""
        database, pause = self._live.durable.database, MIN_PAUSE_SECONDS
        while not pending.is_stored:
            await asyncio.wait([database.next_commit()], timeout=pause)
            try:
                await pending.attempt()
            except Unavailable:
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
        log.warning("session %s is erased now", pending.session.session_id)
        await self._amend(pending)  # an attempt in between may have stored the receipt before it was complete
        self._let_go(session_log)

    async def _amend(self, pending: Pending) -> None:
        try:
            await self._live.durable.database.submit(self._tombstones.make_amendment(pending.session, pending.receipt))
        except (WriteFailed, WriteConflict) as error:
            log.warning("the receipt of a stop could not be completed: %s", error)

    def _let_go(self, session_log: SessionLog) -> None:
        """Remove the session: the tombstone answers from now on. Readers still have the log and get its last events."""
        session_log.is_pinned = False
        self._live.remove(session_log.session.session_id)
        self._tombstones.pending.pop(session_log.session.session_id, None)

    async def close(self) -> None:
        """Try once more to store what is not stored, for a bounded time; what is left is logged as an error."""
        await self._tasks.cancel()
        pending = self._tombstones.pending
        attempts = [asyncio.ensure_future(pending[session_id].attempt()) for session_id in self._tombstones.unstored]
        if attempts:
            await asyncio.wait(attempts, timeout=CLOSE_SECONDS)
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        if left := self._tombstones.unstored:
            log.error(
                "the database cannot write: %d terminated sessions are not erased and are back after a restart: %s",
                len(left),
                ", ".join(sorted(left)),
            )


def _take_facts(session_log: SessionLog, order: StopOrder) -> list[Run]:
    """The last events of the session: the end of every open turn, and its own."""
    facts = [
        session_log.take_fact(TurnFinished(turn_id, TurnState.CANCELLED, message_id, "session_terminated"))
        for turn_id, message_id in order.turns
    ]
    return [*facts, session_log.take_fact(SessionTerminated(session_log.session.session_id))]


def _add_news(
    unit: UnitOfWork, session_log: SessionLog, facts: Sequence[Run], *, forget_all: bool
) -> Callable[[], None]:
    """Have the unit also store what webhooks are to be told of the end; with `forget_all`, delete all they were to be.

    Returns what to call when it is written.
    """
    outbox = session_log.outbox
    if outbox is None:
        return lambda: None
    outbox.interrupt(session_log.session.session_id)
    if forget_all:
        outbox.drop(unit)
        return lambda: None
    for fact in facts:
        outbox.add(unit, session_log.session, fact)
    return outbox.wake


def add_deletion_of_memories(unit: UnitOfWork, *, forget_all: bool = False) -> Removed:
    """Have the unit also delete the memories that only the session may recall, or all that came from it."""
    audience = None if forget_all else session_audience(unit.session_id)
    return memories.delete_of_session(unit, audience=audience)
