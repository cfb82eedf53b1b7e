"""Sessions: create, get, list, describe. The only place that looks up a session for a principal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal
from weakref import WeakValueDictionary

from app.domain.errors import (
    Conflict,
    InvalidRequest,
    QuotaExceeded,
    Unavailable,
    session_not_found,
    session_over,
)
from app.domain.ids import CHOSEN_SESSION_ID, NewId
from app.domain.principal import Principal
from app.domain.session import Session, SessionStatus
from app.events.change import Change
from app.events.elsewhere import at_owner
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.sessions.draft import EPHEMERAL, PLAIN, Draft, Seed
from app.sessions.ending import Endings
from app.sessions.stored_size import StoredSize
from app.sessions.tombstones import Tombstones
from app.storage import sessions
from app.storage.engine.unit_of_work import WriteConflict, WriteFailed


class Sessions:
    """Creates sessions, and finds them for the principals that may see them."""

    def __init__(
        self,
        live: LiveSessions,
        tombstones: Tombstones,
        endings: Endings,
        *,
        new_id: NewId,
        clock_ms: Callable[[], int],
        max_per_principal: int | None = None,
        max_per_user: int | None = None,
        stored: StoredSize | None = None,
    ) -> None:
        """`stored`: what limits the text that sessions begin with; `None` sets no limit."""
        self._live = live
        self._tombstones = tombstones
        self._endings = endings
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._max_per_user = max_per_user
        self._max_per_principal = max_per_principal
        self._stored = stored
        self._one_shots: dict[tuple[str, str, str, str], asyncio.Future[SessionLog]] = {}
        self._counting: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._creating: dict[str, asyncio.Future[None]] = {}
        self.here = ""
        """The end of the ids of sessions that only this server has, where it is one of several."""

    # -- making and finding ---------------------------------------------------------------------

    async def create(
        self,
        principal: Principal,
        agent: str,
        *,
        session_id: str | None = None,
        draft: Draft = PLAIN,
    ) -> tuple[SessionLog, bool]:
        """Create a session and return it with `True`; if the caller has one with this id, return that with `False`.

        Raises:
            InvalidRequest: the id has other characters than letters, digits and `._:-`, or more than 128.
            Conflict (`session_exists`): another agent or principal has a session with this id.
            SessionOver (`session_terminated`): a session with this id was terminated.
            QuotaExceeded, Unavailable.
        """
        if session_id is not None:
            if not CHOSEN_SESSION_ID.fullmatch(session_id):
                raise InvalidRequest("session_id may have letters, digits and . _ : - only, at most 128 characters.")
            while (other := self._creating.get(session_id)) is not None:
                await asyncio.wait([other])
            mine = self._creating[session_id] = asyncio.get_running_loop().create_future()
            try:
                return await self._create_chosen(principal, agent, session_id, draft)
            finally:
                del self._creating[session_id]
                mine.set_result(None)
        return await self._create(principal, agent, self._fresh_id(draft), draft), True

    async def one_shot(
        self, principal: Principal, agent: str, key: str | None, seeds: tuple[Seed, ...] = ()
    ) -> SessionLog:
        """Create a session in memory; for an idempotency key used before, return its session while that exists."""
        draft = replace(EPHEMERAL, seeds=seeds) if seeds else EPHEMERAL
        if key is None:
            return await self._create(principal, agent, self._fresh_id(draft), draft)
        name = (principal.id, principal.effective_user, agent, key)
        made = self._one_shots.get(name)
        if made is None or (made.done() and (made.exception() is not None or made.result().over is not None)):
            made = asyncio.ensure_future(self._create(principal, agent, self._fresh_id(draft), draft))
            self._drop_finished_one_shots()
            self._one_shots[name] = made
        return await asyncio.shield(made)

    def _fresh_id(self, draft: Draft) -> str:
        return self._new_id("sess") + (self.here if draft.ephemeral else "")

    def _drop_finished_one_shots(self) -> None:
        over = [
            name
            for name, made in self._one_shots.items()
            if made.done() and (made.exception() is not None or made.result().over is not None)
        ]
        for name in over:
            del self._one_shots[name]

    async def _create_chosen(
        self, principal: Principal, agent: str, session_id: str, draft: Draft
    ) -> tuple[SessionLog, bool]:
        session_log = await self._live.open(session_id)
        if session_log is not None:
            session = session_log.session
            if session.agent != agent or not principal.may_see(session.principal, session.user_id):
                raise _taken(session_id)
            if session_log.over is SessionStatus.TERMINATED:
                raise await self._tombstones.refusal(session_id)
            return session_log, False
        if (tombstone := await self._tombstones.find(session_id)) is not None:
            if self._tombstones.is_owner(tombstone[0], agent=agent, principal=principal.id, session_id=session_id):
                raise session_over("terminated", session_id, tombstone[1])
            raise _taken(session_id)
        return await self._create(principal, agent, session_id, draft), True

    async def _create(self, principal: Principal, agent: str, session_id: str, draft: Draft) -> SessionLog:
        stored = self._stored if draft.copy is not None or draft.seeds else None
        if draft.ephemeral or (self._max_per_user is None and self._max_per_principal is None and stored is None):
            return await self._store(principal, agent, session_id, draft)
        # One at a time for each owner, from the count to the commit: else many at once would all count the same.
        owner = (principal.id, principal.effective_user if self._max_per_principal is None else "")
        lock = self._counting.get(owner)
        if lock is None:
            lock = self._counting[owner] = asyncio.Lock()
        async with lock:
            await self._check_quota(principal)
            if stored is not None:
                await stored.add(principal, draft)
            return await self._store(principal, agent, session_id, draft)

    async def _store(self, principal: Principal, agent: str, session_id: str, draft: Draft) -> SessionLog:
        user_id = principal.effective_user
        now = self._clock_ms()
        # The messages a session begins with have numbers, but no events: the events count as deleted.
        last_seq = draft.last_seq
        session = Session(
            session_id=session_id,
            agent=agent,
            principal=principal.id,
            user_id=user_id,
            status=SessionStatus.ACTIVE,
            ephemeral=draft.ephemeral,
            title=draft.title,
            metadata=draft.metadata or {},
            created_ms=now,
            active_ms=now,
            last_seq=last_seq,
            reserved_seq=last_seq,
            floor_seq=last_seq,
            message_count=draft.message_count,
            forked_from=draft.forked_from,
            remembered_seq=draft.remembered_seq,
            parent_call=draft.parent_call,
            webhooks=draft.webhooks,
        )
        ownership = self._live.ownership if not draft.ephemeral else None
        unit = sessions.create(session, owner=ownership.replica_id if ownership is not None else None)
        draft.add_messages(unit, new_id=self._new_id, now_ms=now)
        database = (self._live.ephemeral if draft.ephemeral else self._live.durable).database
        try:
            await asyncio.shield(database.submit(unit))
        except WriteConflict:
            raise _taken(session_id) from None
        except WriteFailed as error:
            raise Unavailable(f"The session could not be stored: {error}") from error
        session_log = self._live.add(session)
        if draft.ephemeral:
            self._endings.session_idle(session_log)
        return session_log

    async def _check_quota(self, principal: Principal) -> None:
        """Raises QuotaExceeded: user or principal have as many active sessions as allowed, with all agents together."""
        user_id = principal.effective_user
        limits = (
            (self._max_per_user, user_id, f"User {user_id!r}", "sessions.max_per_user"),
            (self._max_per_principal, None, "The principal of this key", "limits.principal.sessions"),
        )
        for most, whose, name, key in limits:
            if most is None:
                continue
            count = partial(sessions.count_open, principal=principal.id, user_id=whose)
            open_sessions = await self._live.durable.database.read(count)
            if open_sessions >= most:
                raise QuotaExceeded(
                    f"{name} has {open_sessions} active sessions, the most allowed ({key}); end or delete one."
                )

    async def get(self, principal: Principal, agent: str, session_id: str) -> SessionLog:
        """The session, if it is this caller's and this agent's.

        Raises:
            NotFound (`session_not_found`): unknown, or of another principal or agent; the message is the same.
            SessionOver (`session_terminated`): the caller's session was terminated.
            Unavailable: the database did not answer, or the session was terminated and that is not stored yet.
        """
        session_log = self._live.warm(session_id) or await self._live.open(session_id)
        if session_log is None:
            tombstone = await self._tombstones.find(session_id)
            if tombstone is not None and self._tombstones.is_owner(
                tombstone[0], agent=agent, principal=principal.id, session_id=session_id
            ):
                raise session_over("terminated", session_id, tombstone[1])
            raise session_not_found(session_id)
        session = session_log.session
        if session.agent != agent or not principal.may_see(session.principal, session.user_id):
            raise session_not_found(session_id)
        if self._endings.are_being_written:
            await self._endings.settled(session_log)
            session = session_log.session
        if session.status is SessionStatus.ACTIVE and session.ending is None and self._endings.is_due(session_log):
            await self._endings.expire(session_log)
        if (
            session_log.over is SessionStatus.TERMINATED
        ):  # checked last: a terminate may have come while the end was being written
            raise await self._tombstones.refusal(session_id)
        return session_log

    async def get_by_id(self, principal: Principal, session_id: str) -> SessionLog:
        """The session of whichever agent, if it is this caller's. Raises what `get` raises; NotFound if terminated."""
        session_log = self._live.warm(session_id) or await self._live.open(session_id)
        if session_log is None:
            raise session_not_found(session_id)
        return await self.get(principal, session_log.session.agent, session_id)

    async def agent_of(self, session_id: str) -> str:
        """The agent of a session, whoever's, also of a terminated one: for doors whose clients name the session alone.

        Tells nobody anything: what the caller may know says `get`.

        Raises:
            NotFound (`session_not_found`): there is none, and never was.
            Unavailable.
        """
        if not CHOSEN_SESSION_ID.fullmatch(session_id):
            raise session_not_found(session_id)
        session_log = self._live.warm(session_id) or await self._live.open(session_id)
        agent = session_log.session.agent if session_log is not None else await self._tombstones.agent_of(session_id)
        if agent is None:
            raise session_not_found(session_id)
        return agent

    async def list(
        self,
        principal: Principal,
        agent: str,
        *,
        status: str | None,
        order: Literal["creation", "activity"],
        before: tuple[int, str] | None,
        limit: int,
    ) -> list[Session]:
        """A page of the caller's sessions with an agent, newest first, without terminated and ephemeral sessions."""
        page = await self._live.durable.database.read(
            lambda connection: sessions.list_page(
                connection,
                principal=principal.id,
                agent=agent,
                user_id=principal.user_id,
                status=status,
                order=order,
                before=before,
                limit=limit,
            )
        )
        return [
            session_log.session if (session_log := self._live.peek(session.session_id)) else session for session in page
        ]

    async def owned(self, principal: Principal, agent: str, session_ids: Sequence[str]) -> set[str]:
        """Which of these sessions are stored and belong to the caller."""
        found: set[str] = set()
        for start in range(0, len(session_ids), 500):
            found |= await self._live.durable.database.read(
                partial(
                    sessions.owned,
                    principal=principal.id,
                    agent=agent,
                    user_id=principal.user_id,
                    session_ids=session_ids[start : start + 500],
                )
            )
        return found

    @at_owner
    async def describe(self, session_log: SessionLog, *, title: str | None, metadata: dict[str, object]) -> None:
        """Set title and metadata. Raises Unavailable."""
        async with Change(session_log) as change:
            sessions.add_describe(change.unit, title=title, metadata=metadata)
            change.set(title=title, metadata=metadata)


def _taken(session_id: str) -> Conflict:
    return Conflict(f"The session id {session_id!r} is taken; choose another one.", reason="session_exists")
