"""Sessions: create, get, list, describe, end and terminate. The one place where a session is looked up for somebody."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from app.domain.clock import iso
from app.domain.errors import (
    Conflict,
    InvalidRequest,
    QuotaExceeded,
    Unavailable,
    session_not_found,
    session_over,
)
from app.domain.event import EventKind
from app.domain.ids import CHOSEN_SESSION_ID, NewId
from app.domain.principal import Principal
from app.domain.session import Session, SessionStatus, StopReceipt
from app.events.local_log import LiveSessions
from app.events.log import BLOCK, SessionLog, StopOrder
from app.observability.tasks import Tasks
from app.storage import events, sessions
from app.storage.unit_of_work import UnitOfWork, WriteConflict, WriteFailed

log_ = logging.getLogger(__name__)

UPSTREAM_CLOSE_SECONDS = 2.0
EPHEMERAL_SECONDS = 60.0


class Sessions:
    """The life of sessions. `secret` keys the hashes of tombstones."""

    def __init__(
        self,
        live: LiveSessions,
        *,
        secret: bytes,
        new_id: NewId,
        clock_ms: Callable[[], int],
        timeout_ms: int | None = None,
        max_duration_ms: int | None = None,
        max_per_user: int | None = None,
    ) -> None:
        self._live = live
        self._secret = secret
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._timeout_ms = timeout_ms
        self._max_duration_ms = max_duration_ms
        self._max_per_user = max_per_user
        self._one_shots: dict[tuple[str, str, str, str], asyncio.Future[SessionLog]] = {}
        self._receipts: dict[str, dict[str, object]] = {}
        self._creating: dict[str, asyncio.Future[None]] = {}
        self._tasks = Tasks()

    # -- making and finding ---------------------------------------------------------------------

    async def create(
        self,
        principal: Principal,
        agent: str,
        *,
        session_id: str | None = None,
        title: str | None = None,
        metadata: dict[str, object] | None = None,
        ephemeral: bool = False,
    ) -> tuple[SessionLog, bool]:
        """A new session; or, for a chosen id that is this caller's already, that one (and `False`).

        Raises:
            InvalidRequest: the id has other characters than letters, digits and `._:-`, or more than 128.
            Conflict (`session_exists`): the id is another agent's or somebody else's.
            SessionOver (`session_terminated`): the id is dead for good.
            QuotaExceeded, Unavailable.
        """
        if session_id is not None:
            if not CHOSEN_SESSION_ID.fullmatch(session_id):
                raise InvalidRequest("session_id may have letters, digits and . _ : - only, at most 128 characters.")
            while (other := self._creating.get(session_id)) is not None:
                await asyncio.wait([other])
            mine = self._creating[session_id] = asyncio.get_running_loop().create_future()
            try:
                return await self._create_chosen(principal, agent, session_id, title, metadata, ephemeral)
            finally:
                del self._creating[session_id]
                mine.set_result(None)
        return await self._create(principal, agent, self._new_id("sess"), title, metadata, ephemeral), True

    async def one_shot(self, principal: Principal, agent: str, key: str | None) -> SessionLog:
        """A fresh session in memory; for an idempotency key used before, the one made then while it lives."""
        if key is None:
            return await self._create(principal, agent, self._new_id("sess"), None, None, True)
        name = (principal.id, principal.effective_user, agent, key)
        made = self._one_shots.get(name)
        if made is None or (made.done() and (made.exception() is not None or made.result().over is not None)):
            made = asyncio.ensure_future(self._create(principal, agent, self._new_id("sess"), None, None, True))
            self._one_shots[name] = made
        return await asyncio.shield(made)

    async def _create_chosen(
        self,
        principal: Principal,
        agent: str,
        session_id: str,
        title: str | None,
        metadata: dict[str, object] | None,
        ephemeral: bool,
    ) -> tuple[SessionLog, bool]:
        log = await self._live.open(session_id)
        if log is not None:
            session = log.session
            if session.agent != agent or not principal.may_see(session.principal, session.user_id):
                raise _taken(session_id)
            if log.over is SessionStatus.TERMINATED:
                raise session_over("terminated", session_id, self._receipts.get(session_id))
            return log, False
        tombstone = await self._tombstone(session_id)
        if tombstone is not None:
            owner_hash, receipt = tombstone
            if hmac.compare_digest(owner_hash, self._owner_hash(agent, principal.id, session_id)):
                raise session_over("terminated", session_id, receipt)
            raise _taken(session_id)
        return await self._create(principal, agent, session_id, title, metadata, ephemeral), True

    async def _create(
        self,
        principal: Principal,
        agent: str,
        session_id: str,
        title: str | None,
        metadata: dict[str, object] | None,
        ephemeral: bool,
    ) -> SessionLog:
        user_id = principal.effective_user
        if self._max_per_user is not None and not ephemeral:
            await self._check_quota(principal, agent, user_id)
        now = self._clock_ms()
        session = Session(
            session_id=session_id,
            agent=agent,
            principal=principal.id,
            user_id=user_id,
            status=SessionStatus.ACTIVE,
            ephemeral=ephemeral,
            title=title,
            metadata=metadata or {},
            created_ms=now,
            active_ms=now,
        )
        database = (self._live.ephemeral if ephemeral else self._live.durable).database
        try:
            await asyncio.shield(database.submit(sessions.create(session)))
        except WriteConflict:
            raise _taken(session_id) from None
        except WriteFailed as error:
            raise Unavailable(f"The session could not be stored: {error}") from error
        log = self._live.add(session)
        self._watch(log)
        if ephemeral:
            self._on_idle(log)
        return log

    async def _check_quota(self, principal: Principal, agent: str, user_id: str) -> None:
        open_sessions = await self._live.durable.database.read(
            lambda connection: sessions.count_open(connection, principal=principal.id, agent=agent, user_id=user_id)
        )
        if self._max_per_user is not None and open_sessions >= self._max_per_user:
            raise QuotaExceeded(
                f"User {user_id!r} has {open_sessions} active sessions, the most allowed; end or delete one."
            )

    async def get(self, principal: Principal, agent: str, session_id: str) -> SessionLog:
        """The session, if it is this caller's and this agent's.

        Raises:
            NotFound (`session_not_found`): unknown, somebody else's, or another agent's: the words are the same.
            SessionOver (`session_terminated`): it was this caller's and is gone for good.
        """
        log = self._live.warm(session_id) or await self._live.open(session_id)
        if log is None:
            tombstone = await self._tombstone(session_id)
            if tombstone is not None and hmac.compare_digest(
                tombstone[0], self._owner_hash(agent, principal.id, session_id)
            ):
                raise session_over("terminated", session_id, tombstone[1])
            raise session_not_found(session_id)
        session = log.session
        if session.agent != agent or not principal.may_see(session.principal, session.user_id):
            raise session_not_found(session_id)
        if log.over is SessionStatus.TERMINATED:
            raise session_over("terminated", session_id, self._receipts.get(session_id))
        if log.on_idle is None:
            self._watch(log)
        if session.status is SessionStatus.ACTIVE and session.ending is None and self._is_due(log):
            await self.expire(log)
        return log

    async def list(
        self,
        principal: Principal,
        agent: str,
        *,
        user_id: str | None,
        status: str | None,
        order: Literal["creation", "activity"],
        before: tuple[int, str] | None,
        limit: int,
    ) -> list[Session]:
        """A page of this caller's sessions with an agent, newest first. Terminated and ephemeral ones are not there."""
        page = await self._live.durable.database.read(
            lambda connection: sessions.list_page(
                connection,
                principal=principal.id,
                agent=agent,
                user_id=user_id or principal.user_id,
                status=status,
                order=order,
                before=before,
                limit=limit,
            )
        )
        return [log.session if (log := self._live.peek(session.session_id)) else session for session in page]

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

    # -- changing -------------------------------------------------------------------------------

    async def describe(self, log: SessionLog, *, title: str | None, metadata: dict[str, object]) -> None:
        """Set title and metadata. Raises Unavailable."""
        unit = UnitOfWork(log.session.session_id)
        sessions.add_describe(unit, title=title, metadata=metadata)
        await self._commit(log, unit)
        log.session = replace(log.session, title=title, metadata=metadata)

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
            await self._commit(log, unit)
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
            await self._commit(log, unit)
        except Unavailable:
            log.void(fact)
            log.session = replace(log.session, status=SessionStatus.ACTIVE, ending=status, ended_ms=None)
            raise
        log.reserved_seq = reserved
        log.session = replace(log.session, last_seq=log.last_seq, reserved_seq=reserved)
        log.publish(fact)

    async def terminate(self, log: SessionLog) -> StopReceipt:
        """Kill the session for good: stop the model, end every stream, erase everything, bury the id.

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

        self._receipts[session.session_id] = receipt_json(receipt(None))
        written = asyncio.ensure_future(self._bury(log, receipt(None)))
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
        self._receipts[session.session_id] = receipt_json(final)
        if failure is not None:
            self._tasks.start(self._bury_until_written(log, final), name=f"burial of {session.session_id}")
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

    async def _bury(self, log: SessionLog, receipt: StopReceipt) -> None:
        session = log.session
        unit = UnitOfWork(session.session_id)
        sessions.add_bury(
            unit,
            id_hash=self._id_hash(session.session_id),
            owner_hash=self._owner_hash(session.agent, session.principal, session.session_id),
            agent=session.agent,
            receipt=receipt_json(receipt),
        )
        database = self._live.store_of(log).database
        await database.submit(unit)
        if session.ephemeral:  # its id, too, must stay dead after a restart
            grave = UnitOfWork(session.session_id, [unit.steps[0]])
            await self._live.durable.database.submit(grave)

    async def _bury_until_written(self, log: SessionLog, receipt: StopReceipt) -> None:
        pause = 0.2
        while True:
            await asyncio.sleep(pause)
            try:
                await self._bury(log, receipt)
            except WriteFailed:
                pause = min(pause * 2, 5)
            except WriteConflict:
                break
            else:
                break
        self._forget_buried(log)

    async def _amend(self, log: SessionLog, receipt: StopReceipt) -> None:
        unit = UnitOfWork(log.session.session_id)
        sessions.add_amend(unit, id_hash=self._id_hash(log.session.session_id), receipt=receipt_json(receipt))
        try:
            await self._live.durable.database.submit(unit)
        except (WriteFailed, WriteConflict) as error:
            log_.warning("the receipt of a stop could not be completed: %s", error)

    def _forget_buried(self, log: SessionLog) -> None:
        """From here on the tombstone answers. Readers still hold the log and get its last frames."""
        log.is_pinned = False
        self._live.remove(log.session.session_id)
        self._receipts.pop(log.session.session_id, None)

    # -- idle sessions --------------------------------------------------------------------------

    def _watch(self, log: SessionLog) -> None:
        log.on_idle = lambda: self._on_idle(log)

    def _on_idle(self, log: SessionLog) -> None:
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
        for name, made in list(self._one_shots.items()):
            if made.done() and not made.exception() and made.result() is log:
                del self._one_shots[name]
        self._live.remove(log.session.session_id)
        session_id = log.session.session_id
        self._tasks.start(self._erase_ephemeral(session_id), name=f"erasure of {session_id}")

    async def _erase_ephemeral(self, session_id: str) -> None:
        unit = UnitOfWork(session_id)
        sessions.add_erase(unit)
        await self._live.ephemeral.database.submit(unit)

    def _is_due(self, log: SessionLog) -> bool:
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
            if log is not None and log.session.status is SessionStatus.ACTIVE and self._is_due(log):
                self._watch(log)
                await self.expire(log)
        return len(due)

    async def settle_endings(self) -> None:
        """After a restart: sessions whose end was asked for while a turn was open."""
        waiting = await self._live.durable.database.read(sessions.ending)
        for session_id in waiting:
            log = await self._live.open(session_id)
            if log is not None:
                self._watch(log)
                if not log.is_busy:
                    await self._settle_ending(log)

    async def close(self) -> None:
        await self._tasks.cancel()

    # -- parts ----------------------------------------------------------------------------------

    async def _commit(self, log: SessionLog, unit: UnitOfWork) -> None:
        try:
            await asyncio.shield(self._live.store_of(log).database.submit(unit))
        except WriteFailed as error:
            raise Unavailable(f"The change could not be stored: {error}") from error
        except WriteConflict:
            raise session_over("terminated", log.session.session_id) from None

    async def _tombstone(self, session_id: str) -> tuple[bytes, dict[str, object]] | None:
        id_hash = self._id_hash(session_id)
        return await self._live.durable.database.read(lambda connection: sessions.find_tombstone(connection, id_hash))

    def _id_hash(self, session_id: str) -> bytes:
        return hmac.digest(self._secret, session_id.encode(), hashlib.sha256)

    def _owner_hash(self, agent: str, principal: str, session_id: str) -> bytes:
        owner = f"{agent}\0{principal}\0{session_id}"
        return hmac.digest(self._secret, owner.encode(), hashlib.sha256)


def receipt_json(receipt: StopReceipt) -> dict[str, object]:
    """The stop receipt as it goes over the wire and onto the tombstone; times in ISO 8601."""
    return {
        "session_id": receipt.session_id,
        "status": "terminated",
        "turn_id": receipt.turn_id,
        "last_seq": receipt.last_seq,
        "ordered_at": iso(receipt.ordered_ms),
        "upstream_closed_at": iso(receipt.upstream_closed_ms),
        "tokens_after_order": receipt.tokens_after_order,
    }


def _taken(session_id: str) -> Conflict:
    return Conflict(f"The session id {session_id!r} is taken; choose another one.", reason="session_exists")
