"""The product's long-term memory behind the interface of a retrieval benchmark (add, finish, search).

Nothing is ranked here. `Memory` holds one user's scope; `WordsOnly` and `WithoutLateInteraction` switch parts off. Each
instance owns a database file in a temporary folder, removed at `close`.
"""

from __future__ import annotations

import itertools
import tempfile
from datetime import UTC, datetime

from app.domain.memory import Owner, Scope
from app.memory.longterm import LongTermMemory, Saying
from app.search.minilm import MiniLM
from app.storage.engine.database import Database

_ASSISTANTS = {"assistant", "ai", "bot", "agent", "system", "chatbot"}


class Memory:
    embeds = True
    late_interaction = True

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hector-recall-")
        self._numbers = itertools.count(1)
        self._is_open = False

    async def add(self, id: str, text: str, speaker: str, timestamp: str, session: str) -> None:
        when = datetime.fromisoformat(timestamp)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        role = "assistant" if speaker.lower() in _ASSISTANTS else "user"
        saying = Saying(role, speaker, text, int(when.timestamp() * 1000), message_id=id)
        await self._open()
        await self._memory.remember(self._owner(session), Scope.CONVERSATIONAL, [saying])

    async def finish(self) -> None:
        await self._open()
        await self._memory.embed_pending()
        await self.search("warm up", 1)

    async def search(self, query: str, k: int) -> list[str]:
        found = await self._memory.recall(
            query, owner=self._owner("asking"), scope=Scope.CONVERSATIONAL, limit=k, each_once=True
        )
        return [hit.memory.message_id or "" for hit in found.hits]

    async def close(self) -> None:
        await self._memory.close()
        if self._embedder is not None:
            await self._embedder.close()
        await self._database.close()
        self._folder.cleanup()

    async def _open(self) -> None:
        if self._is_open:
            return
        self._is_open = True
        self._database = Database(f"sqlite:///{self._folder.name}/memory.db")
        await self._database.open()
        self._embedder = MiniLM() if self.embeds else None
        self._memory = LongTermMemory(
            self._database,
            new_id=lambda kind: f"{kind}_{next(self._numbers):08}",
            clock_ms=lambda: 0,
            embedder=self._embedder,
            late_interaction=self.late_interaction,
        )

    def _owner(self, session: str) -> Owner:
        return Owner("assistant", "yardstick", "somebody", session)


class WordsOnly(Memory):
    embeds = False


class WithoutLateInteraction(Memory):
    late_interaction = False
