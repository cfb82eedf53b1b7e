"""Lookup: what the tool `search` finds: documents of the stores that an agent may search, and what it remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from app.agents import Roster
from app.domain.clock import iso
from app.domain.label import least_trusted
from app.domain.memory import Owner, Scope
from app.events.live import LiveSessions
from app.memory.longterm import LongTermMemory
from app.tools.base import ToolContext
from app.tools.search import Hit

LONGEST_QUESTION = 2000
"""Characters of a query that memories are looked up by."""


class Found(Protocol):
    """A passage of a document."""

    @property
    def store(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def score(self) -> float: ...
    @property
    def text(self) -> str: ...


class Result(Protocol):
    @property
    def hits(self) -> Sequence[Found]: ...


class Documents(Protocol):
    """The document stores, as far as they are searched here."""

    async def search(self, question: str, names: Iterable[str], *, limit: int) -> Result: ...

    def shown(self, name: str, path: str) -> str: ...


class Lookup:
    """`documents` gives the stores; `None` while there are none."""

    def __init__(
        self, live: LiveSessions, roster: Roster, memory: LongTermMemory, documents: Callable[[], Documents | None]
    ) -> None:
        self._live = live
        self._roster = roster
        self._memory = memory
        self._documents = documents

    async def find(self, query: str, stores: Sequence[str], limit: int, context: ToolContext) -> list[Hit]:
        """The best hits, of documents and of memories each; the documents first."""
        found: list[Hit] = []
        documents = self._documents()
        if documents is not None and stores:
            result = await documents.search(query, stores, limit=limit)
            found += [_hit(documents, passage) for passage in result.hits]
        return [*found, *await self._memories(query, limit, context)][: 2 * limit]

    async def _memories(self, query: str, limit: int, context: ToolContext) -> list[Hit]:
        agent = self._roster.find(context.agent)
        settings = agent.config.memory.longterm if agent is not None else None
        session_log = await self._live.open(context.session_id)
        if settings is None or session_log is None:
            return []
        session = session_log.session
        owner = Owner(session.agent, session.principal, session.user_id, session.session_id)
        recalled = await self._memory.recall(
            query[:LONGEST_QUESTION],
            owner=owner,
            scope=Scope(settings.storage_scope),
            limit=limit,
            threshold=settings.similarity_threshold,
            each_once=True,
        )
        return [
            Hit(
                f"memory of {iso(hit.memory.created_ms)[:10]}",
                f"{hit.memory.speaker}: {hit.memory.text}",
                hit.score,
                least_trusted("tool", hit.memory.trust),
            )
            for hit in recalled.hits
        ]


def _hit(documents: Documents, passage: Found) -> Hit:
    path = documents.shown(passage.store, passage.path)
    return Hit(f"{passage.store}: {path}, {passage.unit} {passage.position}", passage.text, passage.score)
