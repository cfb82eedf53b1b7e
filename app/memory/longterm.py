"""LongTermMemory: remember, recall, edit, forget; vectors are filled in behind the back of whoever waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from app.domain.forgetting import FORGOTTEN
from app.domain.ids import NewId
from app.domain.memory import Memory, MemoryKind, Owner, Scope
from app.memory import scope as scopes
from app.memory.names import name_parts, without_names
from app.memory.recall import Recall, Recollection
from app.search.backlog import Backlog
from app.search.embedder import Embedder, Embedding, EmbeddingFailed
from app.search.words import split_text, terms
from app.storage import memories
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned, Removed

log = logging.getLogger(__name__)

SUMMARY_WORDS = 60
"""Of one piece of a summary."""
BATCH = 16
"""Texts embedded together: enough to be quick, few enough not to keep a question waiting."""
NAMED_SESSIONS = 1_000
"""Sessions whose speakers are kept in mind."""
EMBEDDING_SECONDS = 30.0
"""How long a batch may take before it counts as failed."""


@dataclass(frozen=True, slots=True)
class Saying:
    """Something to remember. `speaker` is the name people see, or the role's; its time in milliseconds."""

    role: str
    speaker: str
    text: str
    created_ms: int
    turn_id: str | None = None
    message_id: str | None = None
    kind: MemoryKind = "message"


class LongTermMemory:
    """What outlives a request. One for each database; `run` is its background task."""

    def __init__(
        self,
        database: Database,
        *,
        new_id: NewId,
        clock_ms: Callable[[], int],
        embedder: Embedder | None = None,
        late_interaction: bool = True,
    ) -> None:
        self._database = database
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._embedder = embedder
        self._recall = Recall(database, embedder, late_interaction=late_interaction)
        self._embedded_upto = 0
        """Row up to which everything has a vector: not looked through again for every turn."""
        self._names: dict[str, frozenset[str]] = {}
        self._backlog = Backlog(self.embed_pending, what="memories")
        self._backlog.wake()
        self.on_removed: Callable[[], None] | None = None
        """Called when memories are gone, for what is left of them in files."""

    async def remember(self, owner: Owner, scope: Scope, sayings: Sequence[Saying]) -> None:
        """Store what the scope lets be stored; found by its words once this returns. Repeating it changes nothing.

        Raises:
            WriteFailed: nothing was stored.
        """
        unit = self.remembering(owner, scope, sayings)
        if unit is not None:
            await self._database.submit(unit)
            self._backlog.wake()

    def remembering(self, owner: Owner, scope: Scope, sayings: Sequence[Saying]) -> UnitOfWork | None:
        """The same as a unit of work, to be written with others; `None` when nothing of it is stored.

        Whoever submits it calls `wake` afterwards.
        """
        unit = UnitOfWork(owner.session_id)
        return unit if self.add(unit, owner, scope, sayings) else None

    def add(self, unit: UnitOfWork, owner: Owner, scope: Scope, sayings: Sequence[Saying]) -> bool:
        """Have a unit of the owner's session remember, too; whether there is anything to. Call `wake` afterwards."""
        audience = scopes.audience_of(owner, scope)
        drafts = [
            (self._memory(owner, audience, saying), terms(saying.text))
            for saying in sayings
            if saying.text.strip() and saying.text != FORGOTTEN and scopes.may_store(scope, saying.kind)
        ]
        if drafts:
            memories.adding(unit, drafts)
        return bool(drafts)

    def add_forgetting(self, unit: UnitOfWork, message_id: str) -> None:
        """Have a unit forget what it remembered of a message of its session, which another stands for from now on."""
        memories.forgetting_message(unit, message_id)

    def add_summary(self, unit: UnitOfWork, owner: Owner, scope: Scope, said: str, *, at_ms: int) -> Removed:
        """Have a unit remember a summary of its session, in place of an earlier one. Call `drop` and `wake` afterwards.

        In pieces: only the beginning of a long text is embedded.
        """
        removed = memories.forgetting_summaries(unit)
        pieces = split_text(said, most_words=SUMMARY_WORDS)
        self.add(unit, owner, scope, [Saying("assistant", "summary", piece, at_ms, kind="summary") for piece in pieces])
        return removed

    def wake(self) -> None:
        """There may be something to embed."""
        self._backlog.wake()

    def embed_again(self) -> None:
        """Vectors were removed: look through everything for what has none."""
        self._embedded_upto = 0
        self._backlog.wake()

    @property
    def model(self) -> str | None:
        """What embeds; `None` when memories are found by their words alone."""
        return self._embedder.model if self._embedder is not None else None

    async def recall(
        self,
        question: str,
        *,
        owner: Owner,
        scope: Scope,
        limit: int = 5,
        threshold: float = 0.0,
        audiences: Sequence[str] | None = None,
    ) -> Recollection:
        """See `Recall.recall`."""
        return await self._recall.recall(
            question, owner=owner, scope=scope, limit=limit, threshold=threshold, audiences=audiences
        )

    async def find(self, owned: Owned) -> Memory | None:
        return await self._database.read(partial(memories.find, owned=owned))

    async def list(self, owned: Owned, *, before: int | None = None, limit: int = 50) -> Sequence[Memory]:
        return await self._database.read(partial(memories.list_page, owned=owned, before=before, limit=limit))

    async def edit(self, memory: Memory, new_text: str) -> None:
        unit = UnitOfWork(memory.owner.session_id)
        memories.editing(unit, memory, text=new_text, terms=terms(new_text), now=self._clock_ms())
        await self._database.submit(unit)
        self._recall.drop([memory.audience])
        self._backlog.wake()

    async def pin(self, memory: Memory, *, is_pinned: bool = True) -> None:
        unit = UnitOfWork(memory.owner.session_id)
        memories.add_pin(unit, memory.memory_id, is_pinned=is_pinned)
        await self._database.submit(unit)

    async def forget(self, owned: Owned) -> Removed:
        """Remove memories with their vectors, versions, full text and every cached copy."""
        unit = UnitOfWork(owned.session_id or "")
        removed = memories.forgetting(unit, owned)
        return await self._remove(unit, removed)

    async def forget_session(self, session_id: str, *, also_wider: bool = False) -> Removed:
        """Remove what a session alone sees; `also_wider` everything that came from it."""
        unit = UnitOfWork(session_id)
        audience = None if also_wider else scopes.session_audience(session_id)
        return await self._remove(unit, memories.forgetting_session(unit, audience=audience))

    async def expire(self, agent: str, *, before_ms: int) -> Removed:
        unit = UnitOfWork("")
        return await self._remove(unit, memories.expiring(unit, agent=agent, before_ms=before_ms))

    async def trim(self, owner: Owner, scope: Scope, *, keep: int) -> Removed:
        unit = UnitOfWork(owner.session_id)
        audience = scopes.audience_of(owner, scope)
        return await self._remove(unit, memories.trimming(unit, audience=audience, keep=keep))

    async def _remove(self, unit: UnitOfWork, removed: Removed) -> Removed:
        await self._database.submit(unit)
        self.drop(removed)
        return removed

    def drop(self, removed: Removed) -> None:
        """Keep no copy of what was removed."""
        if removed.audiences:
            self._recall.drop(sorted(removed.audiences))
            self._names.clear()
            if self.on_removed is not None:
                self.on_removed()

    def _memory(self, owner: Owner, audience: str, saying: Saying) -> Memory:
        return Memory(
            memory_id=self._new_id("memory"),
            owner=owner,
            audience=audience,
            kind=saying.kind,
            role=saying.role,
            speaker=saying.speaker,
            text=saying.text,
            created_ms=saying.created_ms,
            turn_id=saying.turn_id,
            message_id=saying.message_id,
        )

    async def warm_up(self) -> None:
        """Have the embedder ready before the first question, which would not wait for it to load."""
        if self._embedder is not None:
            try:
                await self._embedder.embed(["ready"], is_query=True)
            except Exception as error:  # it is asked again when there is something to embed, and complains then
                log.debug("the embedder is not ready: %s", error)

    # -- vectors, in the background ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Embed what has no vector yet, for as long as the server lives. One that fails is asked again later."""
        await self._backlog.run()

    async def embed_pending(self) -> int:
        """Embed everything that has no vector of the present model; how many there were.

        Raises:
            EmbeddingFailed, TimeoutError: the embedder did not; what was embedded before is stored.
        """
        if self._embedder is None:
            return 0
        done, last = 0, self._embedded_upto
        while True:
            query = partial(memories.without_vector, model=self._embedder.model, after=last, limit=4 * BATCH)
            pending = await self._database.read(query)
            if not pending:
                return done
            last = pending[-1].row
            await self._embed(self._embedder, pending)
            self._embedded_upto = last
            done += len(pending)

    async def _embed(self, embedder: Embedder, pending: Sequence[Memory]) -> None:
        names = await self._names_in(pending)
        # Who speaks is known by a column: in the vectors, names would outweigh what is said (facts: 16 points of R@10).
        texts = {m.row: without_names(m.text, names.get(m.owner.session_id, frozenset())) for m in pending}
        by_length = sorted(pending, key=lambda memory: len(texts[memory.row]))  # equal lengths need no padding
        unit = UnitOfWork("")
        for start in range(0, len(by_length), BATCH):
            part = by_length[start : start + BATCH]
            embeddings = await _embed(embedder, [texts[memory.row] for memory in part])
            for memory, embedding in zip(part, embeddings, strict=True):
                if embedding is not None:
                    vector, pieces = embedding.vector, embedding.pieces
                    memories.add_vector(unit, row=memory.row, model=embedder.model, vector=vector, pieces=pieces)
        await self._database.submit(unit)

    async def _names_in(self, pending: Sequence[Memory]) -> dict[str, frozenset[str]]:
        """Who speaks in the sessions of these memories. Known ones are not read again: a session may be long."""
        said_by: dict[str, set[str]] = {}
        for memory in pending:
            said_by.setdefault(memory.owner.session_id, set()).add(memory.speaker)
        names = {session: self._names[session] for session in said_by if session in self._names}
        unknown = sorted(said_by.keys() - names.keys())
        if unknown:
            for session, speakers in (await self._database.read(partial(memories.speakers, sessions=unknown))).items():
                said_by[session] |= speakers
        for session, speakers in said_by.items():
            names[session] = names.get(session, frozenset()) | name_parts(speakers)
        if len(self._names) > NAMED_SESSIONS:
            self._names.clear()
        self._names |= names
        return names

    async def close(self) -> None:
        await self._recall.close()


async def _embed(embedder: Embedder, texts: Sequence[str]) -> Sequence[Embedding | None]:
    """One embedding a text; `None` for a text that the embedder refuses while it takes others.

    Raises:
        EmbeddingFailed, TimeoutError: it took none.
    """
    async with asyncio.timeout(EMBEDDING_SECONDS):
        try:
            return await embedder.embed(texts)
        except EmbeddingFailed:
            if len(texts) == 1:
                raise
    found: list[Embedding | None] = []
    for one in texts:
        try:
            found += await _embed(embedder, [one])
        except EmbeddingFailed as error:
            log.debug("a memory is not embedded: %s", error)
            found.append(None)
            if len(found) >= min(3, len(texts)) and not any(found):  # it is not the texts
                raise
    return found
