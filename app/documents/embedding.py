"""Vectors of chunks, made behind everybody's back: slowly, for answers come first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from app.documents.chunks import cut
from app.documents.section import Section
from app.search.backlog import Backlog
from app.search.embedder import Embedder
from app.storage import documents
from app.storage.document_text import store_word
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork

PART = 450
"""Characters of one vector: what the embedded model reads at once."""
BATCH = 8
"""Chunks embedded together."""
EMBEDDING_SECONDS = 60.0
"""How long a batch may take before it counts as failed."""
_HEADING = 120


class ChunkEmbedding:
    """`run` is a background task; `wake` it when chunks were added."""

    def __init__(self, database: Database, embedder: Embedder, stores: Sequence[str]) -> None:
        self._database = database
        self._embedder = embedder
        self._words = [store_word(store) for store in stores]
        self._backlog = Backlog(self.embed_pending, what="documents")

    def wake(self) -> None:
        self._backlog.wake()

    async def run(self) -> None:
        """Embed what has no vectors yet, for as long as the server lives."""
        await self._backlog.run()

    async def embed_pending(self) -> int:
        """Embed every chunk that has no vectors of the present model; how many there were.

        Raises:
            EmbeddingFailed, TimeoutError: the embedder did not; what was embedded before is stored.
        """
        done = last = 0
        while True:
            query = partial(
                documents.without_vectors, words=self._words, model=self._embedder.model, after=last, limit=BATCH
            )
            pending = await self._database.read(query)
            if not pending:
                return done
            started = time.monotonic()
            await self._embed(pending)
            last = pending[-1][0]
            done += len(pending)
            # Half of one core at most, for the other half may be somebody's answer.
            await asyncio.sleep(time.monotonic() - started)

    async def _embed(self, pending: Sequence[tuple[int, str, str]]) -> None:
        parts = [_parts(heading, text) for _, heading, text in pending]
        async with asyncio.timeout(EMBEDDING_SECONDS):
            found = await self._embedder.embed([part for some in parts for part in some])
        vectors = iter(found)
        unit = UnitOfWork("")
        for (row, _, _), some in zip(pending, parts, strict=True):
            joined = b"".join([next(vectors).vector for _ in some])
            documents.add_vectors(unit, row=row, model=self._embedder.model, vectors=joined)
        await self._database.submit(unit)


def _parts(heading: str, text: str) -> list[str]:
    """What each vector is made of: a part of the chunk below its heading."""
    pieces = cut([Section("", [(0, text)])], size=PART, unit="paragraph")
    return [f"{heading[-_HEADING:]}\n{piece.text}" if heading else piece.text for piece in pieces]
