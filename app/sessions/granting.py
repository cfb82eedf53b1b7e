"""Granting: one wish to forget, carried out in every place, and looked after.

What depends on something goes first, the thing itself last: whoever goes on after a crash finds the same again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import orjson

from app.domain.forgetting import ForgetReceipt, Wish
from app.domain.ids import GENERATED_ID
from app.domain.phrase import Phrase
from app.domain.session import SessionStatus
from app.events.live import LiveSessions, Store
from app.events.log import SessionLog
from app.memory.longterm import LongTermMemory
from app.sessions.termination import Terminations
from app.storage import forgettings, recalled, redaction, residue
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned, Reader
from app.storage.redaction import Found

T = TypeVar("T")

ABREAST = 20
"""Sessions that are terminated at the same time."""
TRIES = 5
"""How often a session is redacted in which somebody begins turns all the time."""
NEEDLES = 8
"""Ids looked for in the files."""
TELLING = 12
"""Bytes of an id from which on it is telling: shorter ones are in other words."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where things are that may be forgotten.

    `clear` ends the turns of a session and drops what is known of its history; `unlearn` drops from running turns
    what they recalled of memories and sessions with these ids.
    """

    live: LiveSessions
    terminations: Terminations
    memory: LongTermMemory
    clear: Callable[[SessionLog], Awaitable[None]]
    unlearn: Callable[[Collection[str]], None]

    @property
    def database(self) -> Database:
        return self.live.durable.database


class Granting:
    """One wish while it is carried out."""

    def __init__(self, parts: Parts, wish: Wish) -> None:
        self.wish = wish
        self.receipt = ForgetReceipt()
        self._parts = parts
        self._session_ids: list[str] = []
        self._message_ids: set[str] = set()
        self._family: list[str] = []
        self._memory_ids: list[str] = []

    @property
    def _stores(self) -> tuple[Store, Store]:
        return self._parts.live.durable, self._parts.live.ephemeral

    async def _read(self, query: Callable[[Reader], T]) -> T:
        return await self._parts.database.read(query)

    # -- rows ------------------------------------------------------------------------------------------------

    async def remove(self) -> None:
        wish = self.wish
        if wish.phrase is not None:
            await self._remove_phrase(Phrase(wish.phrase))
        elif wish.memory_id is not None:
            await self._remove_memory()
        elif wish.session_id is not None:
            await self._remove_sessions([wish.session_id])
        else:
            await self._remove_user()

    async def _remove_user(self) -> None:
        wish = self.wish
        stored = await self._read(partial(forgettings.sessions_of, wish=wish, until_ms=wish.created_ms))
        in_memory = [log.session.session_id for log in self._parts.live.all() if self._is_in_memory(log)]
        await self._remove_sessions([*stored, *in_memory])
        unit = UnitOfWork("")
        blanked = forgettings.blanking_usage(unit, wish)
        await self._parts.database.submit(unit)
        self.receipt.removed += blanked

    def _is_in_memory(self, log: SessionLog) -> bool:
        session, wish = log.session, self.wish
        whose = (session.principal, session.agent, session.user_id)
        return session.ephemeral and whose == (wish.principal, wish.agent, wish.user_id)

    async def _remove_sessions(self, session_ids: Sequence[str]) -> None:
        """Sessions with all that is theirs; copies of their messages in forks; what was recalled of them elsewhere."""
        wish = self.wish
        self._session_ids = list(session_ids)
        sources = await self._read(partial(forgettings.sources, wish=wish))
        self._memory_ids = [source.memory_id for source in sources]
        forks = await self._read(partial(forgettings.forks_of, wish=wish, session_ids=session_ids))
        # Of all their messages only where copies of them may be: else a few, to be looked for in backups.
        known = session_ids if forks else session_ids[:NEEDLES]
        self._message_ids = await self._read(partial(forgettings.message_ids, session_ids=known))
        if forks:
            self._family = forks
            await self._redact_messages()
            unit = UnitOfWork("")
            forgettings.add_orphaning(unit, session_ids)
            await self._parts.database.submit(unit)
        await self.remove_told()
        await self._forget(forgettings.owned_memories(wish))
        self.receipt.removed += await self._read(partial(forgettings.count_rows, session_ids=session_ids))
        for start in range(0, len(session_ids), ABREAST):
            await asyncio.gather(*[self._terminate(one) for one in session_ids[start : start + ABREAST]])
        await self._forget(forgettings.owned_memories(wish))

    async def _terminate(self, session_id: str) -> None:
        log = await self._parts.live.open(session_id)
        if log is None or log.over is SessionStatus.TERMINATED:
            return
        await self._parts.clear(log)
        await self._parts.terminations.terminate(log, forget_all=True)

    async def _remove_memory(self) -> None:
        """A memory, the message it came from wherever that is, and other memories of that message."""
        wish = self.wish
        for source in await self._read(partial(forgettings.sources, wish=wish)):
            self._memory_ids = [source.memory_id]
            if source.message_id is not None:
                self._message_ids = {source.message_id}
                family = partial(forgettings.family_of, wish=wish, session_id=source.session_id)
                self._family = await self._read(family)
                await self._redact_messages()
            await self.remove_told()
            await self._forget(Owned(wish.agent, wish.principal, memory_ids=(source.memory_id,)))

    async def _remove_phrase(self, phrase: Phrase) -> None:
        touched: set[str] = set()
        for store in self._stores:
            ids = await store.database.read(partial(forgettings.sessions_of, wish=self.wish))
            for session_id, found in (await store.database.read(_scan(ids, phrase))).items():
                self._message_ids |= found.message_ids
                if found.in_history:
                    touched.add(session_id)
                await self._redact(session_id, phrase=phrase)
        said = self._message_ids
        find = partial(redaction.find_memories, wish=self.wish, phrase=phrase, message_ids=said, summaries_of=touched)
        self._memory_ids = await self._read(find)
        await self.remove_told()
        await self._forget_ids(self._memory_ids)

    async def _redact_messages(self) -> None:
        """Copies of messages in other sessions, and what these remember of them."""
        found = await self._read(
            partial(redaction.find_messages, session_ids=self._family, message_ids=self._message_ids)
        )
        for session_id in found:
            await self._redact(session_id)
        owner = replace(self.wish, user_id=None, session_id=None, memory_id=None)
        family = frozenset(self._family)
        find = partial(redaction.find_memories, wish=owner, message_ids=self._message_ids, summaries_of=family)
        doomed = await self._read(find)
        self._memory_ids = list(dict.fromkeys([*self._memory_ids, *doomed]))
        await self._forget_ids([one for one in doomed if one != self.wish.memory_id])

    async def _redact(self, session_id: str, *, phrase: Phrase | None = None) -> None:
        """Replace it in one session. Turns are ended first: what they are told and say is still of before."""
        live = self._parts.live
        log = await live.open(session_id)
        for _ in range(TRIES):
            if log is None or log.over is SessionStatus.TERMINATED:
                return
            await self._parts.clear(log)
            last_seq, database = log.last_seq, live.store_of(log).database
            found = (await database.read(self._look_into(session_id, phrase))).get(session_id)
            if found is None:
                return
            unit = UnitOfWork(session_id)
            removed = redaction.redacting(unit, found, last_seq=last_seq)
            await database.submit(unit)
            self.receipt.removed += removed
            _redact_warm(log, found, last_seq)
            if log.last_seq == last_seq:
                return  # nothing began meanwhile that could know of it

    def _look_into(self, session_id: str, phrase: Phrase | None) -> Callable[[Reader], dict[str, Found]]:
        if phrase is not None:
            return _scan([session_id], phrase)
        return partial(redaction.find_messages, session_ids=[session_id], message_ids=self._message_ids)

    async def remove_told(self) -> None:
        """What turns of other sessions were told of it: in their records, their events, and those that run."""
        sources = frozenset([*self._memory_ids, *self._session_ids])
        if not sources:
            return
        self._parts.unlearn(sources)
        for told in await self._read(partial(recalled.find, agent=self.wish.agent, sources=sources)):
            unit = UnitOfWork(told.session_id)
            recalled.add_removal(unit, told)
            await self._parts.database.submit(unit)
            self.receipt.removed["recalled"] += 1
            log = self._parts.live.peek(told.session_id)
            if log is not None:
                log.forget_tail()

    async def _forget_ids(self, memory_ids: Sequence[str]) -> None:
        for ids in forgettings.parts(memory_ids):
            await self._forget(Owned(self.wish.agent, self.wish.principal, memory_ids=tuple(ids)))

    async def _forget(self, owned: Owned) -> None:
        removed = await self._parts.memory.forget(owned)
        counts = {"memories": removed.memories, "versions": removed.versions, "vectors": removed.vectors}
        self.receipt.removed.update(counts)

    # -- afterwards ------------------------------------------------------------------------------------------

    async def look_at_rows(self) -> None:
        """What is left of it in the database."""
        wish = self.wish
        left = partial(forgettings.rows_left, wish=wish, session_ids=self._session_ids, memory_ids=self._memory_ids)
        found = await self._read(left)
        if self._family:
            copies = partial(redaction.find_messages, session_ids=self._family, message_ids=self._message_ids)
            found += len(await self._read(copies))
        if wish.phrase is not None:
            phrase = Phrase(wish.phrase)
            ids = await self._read(partial(forgettings.sessions_of, wish=wish))
            found += len(await self._read(_scan(ids, phrase)))
            found += len(await self._read(partial(redaction.find_memories, wish=wish, phrase=phrase)))
        self.receipt.rows_found = found

    async def look_into_files(self) -> None:
        """What is left of it in the files. Nothing is looked for where nothing was removed."""
        path = self._parts.database.path
        if path is None or not +self.receipt.removed:
            return
        here, elsewhere = self._words()
        words = [*here, *elsewhere]
        try:
            found = await residue.search(path, [word.encode("utf-8", "surrogatepass") for word in words])
        except OSError as error:
            self.receipt.problem = self.receipt.problem or f"the files could not be looked through: {error}"
            return
        for name, counts in found.items():
            if name in (path.name, path.name + "-wal"):
                suspects = [word for word, count in zip(here, counts, strict=False) if count]
                # What stands in a row stands there for somebody else, or as a part of another word.
                number = sum([not await self._read(partial(forgettings.stands, text=word)) for word in suspects])
            else:
                number = sum(counts[len(here) :])
            if number:
                self.receipt.found_in[name] = number

    def _words(self) -> tuple[list[str], list[str]]:
        """What is looked for in the files of the database, and in other databases beside it (backups).

        There only by ids that we have made: whatever a caller may choose would tell what others have said.
        """
        wish = self.wish
        ids = [*self._session_ids[:NEEDLES], *self._memory_ids[:NEEDLES]]
        here = [one for one in ids if len(one) >= TELLING]
        here += [one for one in (wish.phrase, wish.user_id if wish.is_of_user else None) if one is not None]
        return here, [one for one in (*ids, *sorted(self._message_ids)[:NEEDLES]) if GENERATED_ID.fullmatch(one)]


def _scan(session_ids: Sequence[str], phrase: Phrase) -> Callable[[Reader], dict[str, Found]]:
    return partial(redaction.scan, session_ids=session_ids, phrase=phrase)


def _redact_warm(log: SessionLog, found: Found, last_seq: int) -> None:
    """The warm copy of a redacted session says the same as its rows."""
    session = log.session
    if found.in_title:
        session = replace(session, title=None)
    if found.metadata is not None:
        session = replace(session, metadata=orjson.loads(found.metadata))
    if found.in_history:
        session = replace(session, floor_seq=last_seq)
        log.forget_tail()
    log.session = session
