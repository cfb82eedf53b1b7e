"""Memories to embed: what of each goes into its vector, and where the vector is stored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from app.domain.memory import Memory
from app.memory.names import name_parts, without_names
from app.search.backlog import Pending
from app.search.embedder import Embedding
from app.storage import memories
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork

BATCH = 16
"""Texts per call: enough to be fast, few enough not to hold up a question."""
BATCH_SECONDS = 30.0
NAMED_SESSIONS = 1_000
"""Sessions whose speakers are cached."""


class MemoriesToEmbed:
    """The source of the memories' backlog."""

    what = "memories"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names: dict[str, frozenset[str]] = {}

    async def find(self, model: str, *, after: int) -> Sequence[Pending]:
        query = partial(memories.without_vector, model=model, after=after, limit=4 * BATCH)
        found = await self._database.read(query)
        names = await self._names_in(found)
        # A column says who speaks: in the vectors, names would outweigh what is said (measured: 16 points of R@10).
        return [Pending(one.row, [without_names(one.text, names[one.owner.session_id])]) for one in found]

    async def store(self, model: str, embedded: Sequence[tuple[int, Sequence[Embedding]]]) -> None:
        unit = UnitOfWork("")
        for row, [embedding] in embedded:
            memories.add_vector(unit, row=row, model=model, vector=embedding.vector, pieces=embedding.pieces)
        await self._database.submit(unit)

    def drop_names(self) -> None:
        """Memories were removed: keep no name of their speakers."""
        self._names.clear()

    async def _names_in(self, found: Sequence[Memory]) -> dict[str, frozenset[str]]:
        """The speakers' names by session. Cached ones are not read again, because a session may be long."""
        said_by: dict[str, set[str]] = {}
        for memory in found:
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
