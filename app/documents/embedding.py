"""Chunks to embed: the parts of a chunk that get a vector each, and where the vectors are stored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from app.documents.chunks import cut
from app.documents.section import Section
from app.search.backlog import Backlog, Pending
from app.search.embedder import Embedder, Embedding
from app.storage import documents
from app.storage.document_text import store_word
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork

PART = 450
"""Characters of one vector: what the embedded model reads at once."""
CHUNKS = 8
"""Chunks embedded together."""
BATCH = 64
BATCH_SECONDS = 60.0
_HEADING = 120


def chunk_backlog(database: Database, embedder: Embedder, stores: Sequence[str]) -> Backlog:
    """The backlog of some document stores. It uses half of a core at most, because answers come first."""
    source = ChunksToEmbed(database, stores)
    return Backlog(embedder, source, batch=BATCH, batch_seconds=BATCH_SECONDS, yields=True)


class ChunksToEmbed:
    """The source of the documents' backlog."""

    what = "documents"

    def __init__(self, database: Database, stores: Sequence[str]) -> None:
        self._database = database
        self._words = [store_word(store) for store in stores]

    async def find(self, model: str, *, after: int) -> Sequence[Pending]:
        query = partial(documents.without_vectors, words=self._words, model=model, after=after, limit=CHUNKS)
        return [Pending(row, _parts(heading, text)) for row, heading, text in await self._database.read(query)]

    async def store(self, model: str, embedded: Sequence[tuple[int, Sequence[Embedding]]]) -> None:
        unit = UnitOfWork("")
        for row, parts in embedded:
            documents.add_vectors(unit, row=row, model=model, vectors=b"".join([part.vector for part in parts]))
        await self._database.submit(unit)


def _parts(heading: str, text: str) -> list[str]:
    """What each vector is made of: a part of the chunk below its heading."""
    pieces = cut([Section("", [(0, text)])], size=PART, unit="paragraph")
    return [f"{heading[-_HEADING:]}\n{piece.text}" if heading else piece.text for piece in pieces]
