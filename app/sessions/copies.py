"""Copies: forks, edits and exports of a conversation. The original never changes."""

from __future__ import annotations

from functools import partial

from app.auth.users import with_user
from app.domain.errors import Conflict, InvalidRequest, NotFound
from app.domain.message import Message
from app.domain.principal import Principal
from app.events.log import SessionLog
from app.sessions.draft import Copy, Draft, Seed
from app.sessions.service import Sessions
from app.storage import messages

PAGE = 500


class Copies:
    """Makes sessions out of sessions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def fork(
        self,
        principal: Principal,
        session_log: SessionLog,
        *,
        at: str | None,
        title: str | None = None,
        session_id: str | None = None,
    ) -> SessionLog:
        """Create a session with the messages up to and including `at` (default: the last one).

        Raises:
            NotFound (`message_not_found`), Conflict (`session_exists`), and what creating raises.
        """
        last = await self._message(session_log, at) if at is not None else await self._newest(session_log)
        return await self._copy(
            principal, session_log, upto=last.seq if last else 0, title=title, session_id=session_id
        )

    async def edit(self, principal: Principal, session_log: SessionLog, message_id: str, content: str) -> SessionLog:
        """Fork up to a user message and put another text in its place. No turn is started.

        Raises:
            InvalidRequest: it is not a user's message.
            NotFound (`message_not_found`).
        """
        edited = await self._message(session_log, message_id)
        if edited.role != "user":
            raise InvalidRequest("Only a user's message can be edited; regenerate an answer instead.")
        return await self._copy(principal, session_log, upto=edited.seq - 1, seeds=(Seed("user", content),))

    async def branch(
        self, principal: Principal, session_log: SessionLog, *, upto: int, seeds: tuple[Seed, ...]
    ) -> SessionLog:
        """Fork after message number `upto` (0: before the first) and add `seeds`. Raises: what creating raises."""
        return await self._copy(principal, session_log, upto=upto, seeds=seeds)

    async def read(self, session_log: SessionLog) -> list[Message]:
        """Every message, oldest first."""
        found: list[Message] = []
        before = messages.NEWEST
        while True:
            page = await self._read_page(session_log, before)
            found[:0] = page
            if len(page) < PAGE:
                return found
            before = page[0].seq

    async def _copy(
        self,
        principal: Principal,
        session_log: SessionLog,
        *,
        upto: int,
        title: str | None = None,
        session_id: str | None = None,
        seeds: tuple[Seed, ...] = (),
    ) -> SessionLog:
        source = session_log.session
        read = session_log.database.read
        count = await read(partial(messages.count, session_id=source.session_id, upto=upto))
        draft = Draft(
            title=title if title is not None else source.title,
            metadata=source.metadata,
            ephemeral=source.ephemeral,
            forked_from=source.session_id,
            copy=Copy(source.session_id, upto, count, source.remembered_seq),
            seeds=seeds,
        )
        owner = with_user(principal, source.user_id)
        made, is_new = await self._sessions.create(owner, source.agent, session_id=session_id, draft=draft)
        if not is_new:
            raise Conflict(f"The session id {session_id!r} is taken; choose another one.", reason="session_exists")
        return made

    async def _message(self, session_log: SessionLog, message_id: str) -> Message:
        read = session_log.database.read
        found = await read(partial(messages.find, session_id=session_log.session.session_id, message_id=message_id))
        if found is None:
            raise NotFound(f"There is no message {message_id!r} in this session.", reason="message_not_found")
        return found

    async def _newest(self, session_log: SessionLog) -> Message | None:
        read = session_log.database.read
        page = await read(
            partial(messages.context, session_id=session_log.session.session_id, before=messages.NEWEST, limit=1)
        )
        return page[0] if page else None

    async def _read_page(self, session_log: SessionLog, before: int) -> list[Message]:
        read = session_log.database.read
        return await read(partial(messages.page, session_id=session_log.session.session_id, before=before, limit=PAGE))
