"""LongTermMemory: stores, recalls, edits and deletes memories; vectors follow in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from app.domain.forgetting import FORGOTTEN
from app.domain.ids import NewId
from app.domain.label import Trust
from app.domain.memory import Memory, MemoryKind, Owner, Scope
from app.domain.message import is_blank
from app.memory import scope as scopes
from app.memory.elsewhere import OtherMemories
from app.memory.embedding import BATCH, BATCH_SECONDS, MemoriesToEmbed
from app.memory.recall import Recall, Recollection
from app.search.backlog import Backlog
from app.search.embedder import Embedder
from app.search.words import split_text, terms
from app.storage import memories
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned, Removed

log = logging.getLogger(__name__)

LONG = 10_000
"""Characters of a text whose terms the writer's thread finds: those of a message as long as can be take 150 ms."""
SUMMARY_WORDS = 60
"""Words of one stored piece of a summary."""


@dataclass(frozen=True, slots=True)
class Saying:
    """A message, summary or note to store. `speaker` is the name shown to people, or the role."""

    role: str
    speaker: str
    text: str
    created_ms: int
    turn_id: str | None = None
    message_id: str | None = None
    kind: MemoryKind = "message"
    trust: Trust = "user"


class LongTermMemory:
    """The memories of one database. `run` is its background task."""

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
        self._to_embed = MemoriesToEmbed(database)
        self._backlog = Backlog(
            embedder, self._to_embed, batch=BATCH, batch_seconds=BATCH_SECONDS, is_shared=database.is_shared
        )
        self._backlog.wake()
        self.others: OtherMemories | None = None
        """Set where other servers remember in the same database."""
        self.on_removed: Callable[[], None] | None = None
        """Called after memories were deleted, so that their remains are erased from the database's files."""

    async def remember(self, owner: Owner, scope: Scope, sayings: Sequence[Saying]) -> None:
        """Store what the scope allows; it is found by keyword once this returns. Idempotent for sayings with a message.

        Raises:
            WriteFailed: nothing was stored.
        """
        unit = UnitOfWork(owner.session_id)
        if self.add(unit, owner, scope, sayings):
            await self._database.submit(unit)
            self._backlog.wake()

    def add(self, unit: UnitOfWork, owner: Owner, scope: Scope, sayings: Sequence[Saying]) -> bool:
        """Add the memories to a unit of the owner's session. Returns whether there are any; if so, call `wake` after
        the unit was written."""
        audience = scopes.audience_of(owner, scope)
        drafts = [
            (self._memory(owner, audience, saying), _terms_of(saying.text))
            for saying in sayings
            if not is_blank(saying.text) and saying.text != FORGOTTEN and scopes.may_store(scope, saying.kind)
        ]
        if drafts:
            memories.insert(unit, drafts)
        return bool(drafts)

    def add_forgetting(self, unit: UnitOfWork, message_id: str) -> None:
        """Have a unit delete the memory of a message of its session, which another message replaces."""
        memories.delete_of_message(unit, message_id)

    def add_summary(
        self, unit: UnitOfWork, owner: Owner, scope: Scope, said: str, *, at_ms: int, trust: Trust = "user"
    ) -> Removed:
        """Have a unit replace the stored summary of its session. Call `drop` and `wake` after it was written.

        The summary is stored in pieces, because only the beginning of a long text is embedded.
        """
        removed = memories.delete_summaries(unit)
        pieces = split_text(said, most_words=SUMMARY_WORDS)
        sayings = [Saying("assistant", "summary", piece, at_ms, kind="summary", trust=trust) for piece in pieces]
        self.add(unit, owner, scope, sayings)
        return removed

    @property
    def model(self) -> str | None:
        """The embedder's model; `None` when memories are found by keyword only."""
        return self._embedder.model if self._embedder is not None else None

    async def recall(
        self,
        question: str,
        *,
        owner: Owner,
        scope: Scope,
        limit: int = 5,
        threshold: float = 0.0,
        each_once: bool = False,
        audiences: Sequence[str] | None = None,
    ) -> Recollection:
        """See `Recall.recall`."""
        return await self._recall.recall(
            question,
            owner=owner,
            scope=scope,
            limit=limit,
            threshold=threshold,
            each_once=each_once,
            audiences=audiences,
        )

    async def find(self, owned: Owned) -> Memory | None:
        return await self._database.read(partial(memories.find, owned=owned))

    async def list(self, owned: Owned, *, before: int | None = None, limit: int = 50) -> Sequence[Memory]:
        return await self._database.read(partial(memories.list_page, owned=owned, before=before, limit=limit))

    async def edit(self, memory: Memory, new_text: str) -> None:
        unit = UnitOfWork(memory.owner.session_id)
        found = await asyncio.to_thread(terms, new_text)
        memories.edit(unit, memory, text=new_text, terms=found, now=self._clock_ms())
        await self._database.submit(unit)
        self._recall.drop([memory.audience])
        if self.others is not None:
            self.others.drop([memory.audience])
        await self.told()
        self._backlog.wake()

    async def pin(self, memory: Memory, *, is_pinned: bool = True) -> None:
        unit = UnitOfWork(memory.owner.session_id)
        memories.add_pin(unit, memory.memory_id, is_pinned=is_pinned)
        await self._database.submit(unit)

    async def delete(self, owned: Owned) -> Removed:
        """Delete memories with their vectors, versions, full text and every cached copy.

        Raises:
            Unavailable: they are deleted, but another server has not dropped its copies yet.
        """
        unit = UnitOfWork(owned.session_id or "")
        removed = await self._delete(unit, memories.delete(unit, owned))
        await self.told()
        return removed

    async def expire(self, agent: str, *, before_ms: int) -> Removed:
        """Delete an agent's memories older than a time, except pinned ones."""
        unit = UnitOfWork("")
        return await self._delete(unit, memories.delete_expired(unit, agent=agent, before_ms=before_ms))

    async def trim(self, owner: Owner, scope: Scope, *, keep: int) -> Removed:
        """Delete all but the newest `keep` memories of the owner's audience, except pinned ones."""
        unit = UnitOfWork(owner.session_id)
        audience = scopes.audience_of(owner, scope)
        return await self._delete(unit, memories.delete_oldest(unit, audience=audience, keep=keep))

    async def _delete(self, unit: UnitOfWork, removed: Removed) -> Removed:
        await self._database.submit(unit)
        self.drop(removed)
        return removed

    def drop(self, removed: Removed) -> None:
        """Drop every cached copy of what was deleted, here at once, on other servers soon; see `told`."""
        if removed.audiences:
            self.drop_copies(removed.audiences)
            if self.others is not None:
                self.others.drop(removed.audiences)
            if self.on_removed is not None:
                self.on_removed()

    def drop_copies(self, audiences: Collection[str]) -> None:
        """Drop what this server has in memory of these audiences."""
        self._recall.drop(sorted(audiences))
        self._to_embed.drop_names()

    async def told(self) -> None:
        """Return when no server has a copy of what was deleted. Raises Unavailable."""
        if self.others is not None:
            await self.others.told()

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
            trust=saying.trust,
        )

    async def warm_up(self) -> None:
        """Load the embedder before the first question, which would not wait for it."""
        if self._embedder is not None:
            try:
                await self._embedder.embed(["ready"], is_query=True)
            except Exception as error:  # the backlog tries again and logs a warning
                log.debug("the embedder is not ready: %s", error)

    # -- vectors, in the background ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Embed memories that have no vector for as long as the server lives."""
        await self._backlog.run()

    async def embed_pending(self) -> int:
        """See `Backlog.embed_pending`."""
        return await self._backlog.embed_pending()

    def wake(self) -> None:
        """Memories were written: embed them soon."""
        self._backlog.wake()

    def embed_again(self) -> None:
        """Vectors were removed: embed every memory that has none."""
        self._backlog.start_over()
        if self.others is not None:
            self.others.embed_again()

    def start_over(self) -> None:
        """Another server has removed vectors."""
        self._backlog.start_over()

    async def close(self) -> None:
        await self._recall.close()


def _terms_of(text: str) -> memories.Terms:
    return terms(text) if len(text) < LONG else partial(terms, text)
