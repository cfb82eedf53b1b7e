"""Removal: carries out one deletion request in every place that may hold the data.

Dependent data goes first, the target itself last, so that a process that continues after a crash finds the same again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from app.domain.forgetting import DeletionRequest, ForgetReceipt
from app.domain.phrase import Phrase
from app.domain.session import SessionStatus
from app.events.change import Change
from app.events.live import LiveSessions, Store
from app.events.log import SessionLog
from app.forgetting.elsewhere import Gone, OtherServers
from app.forgetting.verification import MAX_IDS, Affected, Verification
from app.forgetting.warm import WarmCopies, redact_session
from app.memory.imports import Imports
from app.memory.longterm import LongTermMemory
from app.sessions.termination import Terminations
from app.storage import forgettings, outbox, recalled, redaction
from app.storage.connection import Connection
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned
from app.storage.redaction import Found

T = TypeVar("T")

CONCURRENT_TERMINATIONS = 20
MAX_ATTEMPTS = 5
"""How often a session is redacted while clients keep beginning turns in it."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where data may be that is to be forgotten."""

    live: LiveSessions
    terminations: Terminations
    memory: LongTermMemory
    imports: Imports
    warm: WarmCopies

    @property
    def database(self) -> Database:
        return self.live.durable.database


class Removal:
    """One deletion request while it is carried out. `receipt` grows with it."""

    def __init__(self, places: Places, request: DeletionRequest, others: OtherServers | None = None) -> None:
        self.request = request
        self.receipt = ForgetReceipt()
        self._places = places
        self._others = others
        self._redacted: list[str] = []
        self._affected = Affected()

    @property
    def _stores(self) -> tuple[Store, Store]:
        return self._places.live.durable, self._places.live.ephemeral

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await self._places.database.read(query)

    async def _submit(self, unit: UnitOfWork) -> None:
        await self._places.database.submit(unit)

    async def remove(self) -> None:
        """Remove the target from rows and warm sessions. Repeating it is safe.

        Raises:
            Unavailable, WriteFailed, WriteConflict: not all of it is removed yet.
        """
        request = self.request
        await self._places.imports.stop(request.agent, request.principal)
        await self.tell_others()
        await self._note_what_is_there()
        if request.phrase is not None:
            await self._remove_phrase(Phrase(request.phrase))
        elif request.memory_id is not None:
            await self._remove_memory()
        elif request.session_id is not None:
            await self._remove_sessions([request.session_id])
        else:
            await self._remove_user()

    async def remove_own(self) -> None:
        """Remove what no other server can: running imports, and what is said in ephemeral sessions."""
        request, live = self.request, self._places.live
        await self._places.imports.stop(request.agent, request.principal)
        if request.phrase is not None:
            await self._redact_phrase(live.ephemeral, Phrase(request.phrase), set())
        elif request.is_of_user:
            for session_log in live.all():
                if self._is_ephemeral_of_user(session_log):
                    await self._terminate(session_log.session.session_id)
        elif request.session_id is not None:
            found = live.peek(request.session_id)
            if found is not None and found.session.ephemeral:
                await self._terminate(request.session_id)

    def drop_copies(self, gone: Gone) -> None:
        """Drop what this server has in memory of what another one has removed."""
        self._places.warm.remove_recalled(frozenset(gone.sources))
        for session_id in gone.redacted:
            session_log = self._places.live.peek(session_id)
            if session_log is not None:
                session_log.drop_tail()

    async def tell_others(self) -> None:
        """Have the other servers drop what they have of what was removed so far. Raises Unavailable."""
        if self._others is not None:
            affected = self._affected
            gone = Gone((*affected.memory_ids, *affected.session_ids), tuple(self._redacted))
            await self._others.forget(self.request, gone)

    async def _note_what_is_there(self) -> None:
        """Enter into the receipt what the request names; a phrase is counted where it is looked for."""
        request, receipt = self.request, self.receipt
        ephemeral = [one for one in self._places.live.all() if self._is_ephemeral_of_user(one)]
        if request.user_id is not None:
            receipt.knows_user = bool(ephemeral) or await self._read(partial(forgettings.knows_user, request=request))
        if request.phrase is None:
            receipt.found = await self._read(partial(forgettings.count_found, request=request))
            if request.is_of_user:
                receipt.found["sessions"] += len(ephemeral)

    # -- by target -------------------------------------------------------------------------------------------

    async def _remove_user(self) -> None:
        request = self.request
        stored = await self._read(partial(forgettings.sessions_of, request=request, until_ms=request.created_ms))
        ephemeral = [one.session.session_id for one in self._places.live.all() if self._is_ephemeral_of_user(one)]
        await self._remove_sessions([*stored, *ephemeral])
        unit = UnitOfWork("")
        anonymized = forgettings.anonymize_usage(unit, request)
        removed = forgettings.remove_of_user(unit, request)
        await self._submit(unit)
        self.receipt.removed += anonymized + removed

    def _is_ephemeral_of_user(self, session_log: SessionLog) -> bool:
        session, request = session_log.session, self.request
        owner = (session.principal, session.agent, session.user_id)
        return session.ephemeral and owner == (request.principal, request.agent, request.user_id)

    async def _remove_sessions(self, session_ids: Sequence[str]) -> None:
        """Remove sessions with all their data, copies of their messages in forks, and what other turns recalled."""
        request, affected = self.request, self._affected
        affected.session_ids = list(session_ids)
        sources = await self._read(partial(forgettings.sources, request=request))
        affected.memory_ids = [source.memory_id for source in sources]
        forks = await self._read(partial(forgettings.forks_of, request=request, session_ids=session_ids))
        # Forks may copy any message, so all ids are needed; without forks a few serve to search backups.
        known = session_ids if forks else session_ids[:MAX_IDS]
        affected.message_ids = await self._read(partial(forgettings.message_ids, session_ids=known))
        if forks:
            affected.family = forks
            await self._redact_messages()
            await self._redact_descriptions(session_ids, forks)
            unit = UnitOfWork("")
            forgettings.detach_forks(unit, session_ids)
            await self._submit(unit)
        await self.remove_recalled()
        await self._forget(forgettings.owned_memories(request))
        self.receipt.removed += await self._read(partial(forgettings.count_rows, session_ids=session_ids))
        for start in range(0, len(session_ids), CONCURRENT_TERMINATIONS):
            batch = session_ids[start : start + CONCURRENT_TERMINATIONS]
            await asyncio.gather(*[self._terminate(one) for one in batch])
        await self._drop_deliveries(session_ids)
        await self._forget(forgettings.owned_memories(request))

    async def _drop_deliveries(self, session_ids: Sequence[str]) -> None:
        """What webhooks are still to be told of the sessions, also of those that were terminated before."""
        for store in self._stores:
            unit = UnitOfWork("")
            outbox.add_drop_of(unit, session_ids)
            await store.database.submit(unit)

    async def _terminate(self, session_id: str) -> None:
        session_log = await self._places.live.open(session_id)
        if session_log is None:
            return
        if session_log.over is not SessionStatus.TERMINATED:
            await self._places.warm.end_turns(session_log)
        if session_log.over is SessionStatus.TERMINATED:
            await self._places.terminations.confirm(session_log)
        else:
            await self._places.terminations.terminate(session_log, forget_all=True)

    async def _remove_memory(self) -> None:
        """Remove a memory, its source message in every session that has it, and other memories of that message."""
        request, affected = self.request, self._affected
        for source in await self._read(partial(forgettings.sources, request=request)):
            affected.memory_ids = [source.memory_id]
            if source.message_id is not None:
                affected.message_ids = {source.message_id}
                family = partial(forgettings.family_of, request=request, session_id=source.session_id)
                affected.family = await self._read(family)
                await self._redact_messages()
            await self.remove_recalled()
            await self._forget(Owned(request.agent, request.principal, memory_ids=(source.memory_id,)))

    async def _remove_phrase(self, phrase: Phrase) -> None:
        affected, touched = self._affected, set[str]()
        for store in self._stores:
            await self._redact_phrase(store, phrase, touched)
        find = partial(
            redaction.find_memories,
            request=self.request,
            phrase=phrase,
            message_ids=affected.message_ids,
            summaries_of=touched,
        )
        affected.memory_ids = await self._read(find)
        self.receipt.found["messages"] = len(affected.message_ids)
        self.receipt.found["memories"] = len(affected.memory_ids)
        await self.remove_recalled()
        await self._forget_ids(affected.memory_ids)
        unit = UnitOfWork("")
        removed = forgettings.remove_of_user(unit, self.request, phrase)
        await self._submit(unit)
        self.receipt.removed += removed

    async def _redact_phrase(self, store: Store, phrase: Phrase, touched: set[str]) -> None:
        """Redact the sessions of a store; those whose history has the phrase are added to `touched`."""
        ids = await store.database.read(partial(forgettings.sessions_of, request=self.request))
        scan = partial(redaction.scan, session_ids=ids, phrase=phrase)
        for session_id, found in (await store.database.read(scan)).items():
            self.receipt.found["sessions"] += 1
            self._affected.message_ids |= found.message_ids
            if found.in_history:
                touched.add(session_id)
            await self._redact(session_id, phrase=phrase)

    # -- sessions that stay ----------------------------------------------------------------------------------

    async def _redact_messages(self) -> None:
        """Redact copies of the messages in the family, and remove what these sessions remember of them."""
        request, affected = self.request, self._affected
        copies = partial(redaction.find_messages, session_ids=affected.family, message_ids=affected.message_ids)
        for session_id in await self._read(copies):
            await self._redact(session_id)
        owner = replace(request, user_id=None, session_id=None, memory_id=None)
        find = partial(
            redaction.find_memories,
            request=owner,
            message_ids=affected.message_ids,
            summaries_of=frozenset(affected.family),
        )
        doomed = await self._read(find)
        affected.memory_ids = list(dict.fromkeys([*affected.memory_ids, *doomed]))
        await self._forget_ids([one for one in doomed if one != request.memory_id])

    async def _redact_descriptions(self, sources: Sequence[str], forks: Sequence[str]) -> None:
        """Remove titles and metadata that forks have from these sessions."""
        find = partial(redaction.find_copied_descriptions, sources=sources, forks=forks)
        for session_id, found in (await self._read(find)).items():
            session_log = await self._places.live.own(session_id)
            if session_log is None or session_log.over is SessionStatus.TERMINATED:
                continue
            self._redacted.append(session_id)
            async with Change(session_log, is_required=False) as change:
                removed = redaction.redact(change.unit, found, last_seq=session_log.last_seq)
                redact_session(change, session_log, found, session_log.last_seq)
            await self._places.live.erase_tail(session_id)
            self.receipt.removed += removed

    async def _redact(self, session_id: str, *, phrase: Phrase | None = None) -> None:
        """Redact one session. Its turns are ended first: their requests and answers still contain the text."""
        live = self._places.live
        session_log = await live.open(session_id)
        self._redacted.append(session_id)
        for _ in range(MAX_ATTEMPTS):
            if session_log is None:
                return
            if session_log.over is SessionStatus.TERMINATED:
                await self._places.terminations.confirm(session_log)
                return
            await self._places.warm.end_turns(session_log)
            session_log = await live.own(session_id)
            if session_log is None:
                return
            last_seq, database = session_log.last_seq, session_log.database
            found = (await database.read(self._find_in(session_id, phrase))).get(session_id)
            if found is None:
                return
            async with Change(session_log, is_required=False) as change:
                removed = redaction.redact(change.unit, found, last_seq=last_seq)
                redact_session(change, session_log, found, last_seq)
            await live.erase_tail(session_id)
            self.receipt.removed += removed
            if session_log.last_seq == last_seq:
                return  # no turn began meanwhile that could know the text

    def _find_in(self, session_id: str, phrase: Phrase | None) -> Callable[[Connection], dict[str, Found]]:
        if phrase is not None:
            return partial(redaction.scan, session_ids=[session_id], phrase=phrase)
        return partial(redaction.find_messages, session_ids=[session_id], message_ids=self._affected.message_ids)

    async def remove_recalled(self) -> None:
        """Remove what turns of other sessions recalled of it: from their records, their events, and running turns."""
        sources = frozenset([*self._affected.memory_ids, *self._affected.session_ids])
        if not sources:
            return
        self._places.warm.remove_recalled(sources)
        await self.tell_others()
        for told in await self._read(partial(recalled.find, agent=self.request.agent, sources=sources)):
            unit = UnitOfWork(told.session_id)
            recalled.add_removal(unit, told)
            await self._submit(unit)
            self.receipt.removed["recalled"] += 1
            self._redacted.append(told.session_id)
            session_log = self._places.live.peek(told.session_id)
            if session_log is not None:
                session_log.drop_tail()

    # -- memories --------------------------------------------------------------------------------------------

    async def _forget_ids(self, memory_ids: Sequence[str]) -> None:
        for ids in forgettings.batches(memory_ids):
            await self._forget(Owned(self.request.agent, self.request.principal, memory_ids=tuple(ids)))

    async def _forget(self, owned: Owned) -> None:
        removed = await self._places.memory.delete(owned)
        self.receipt.removed += removed.counts

    # -- afterwards ------------------------------------------------------------------------------------------

    async def verify_rows(self) -> None:
        """Enter into the receipt how many rows still hold removed data."""
        self.receipt.rows_found = await self._verification.count_rows()

    async def verify_files(self) -> None:
        """Enter into the receipt what files still contain. Nothing is searched for if nothing was removed."""
        if not +self.receipt.removed:
            return
        try:
            self.receipt.found_in = await self._verification.search_files()
        except OSError as error:
            self.receipt.problem = self.receipt.problem or f"the files could not be searched: {error}"

    @property
    def _verification(self) -> Verification:
        return Verification(self._places.database, self.request, self._affected)
