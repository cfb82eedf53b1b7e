"""Search: a question in, chunks of documents out. Words and meaning nominate, a few cues rank.

The terms, their rarity and the vectors are those of memories; the ranking is not: what tells there who spoke, when and
in answer to what says nothing about a document (docs/documents.md has figures).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from app.documents.closeness import Closeness
from app.documents.kinds import kind_of
from app.documents.rank import CANDIDATES, Ranked, rank
from app.documents.section import Unit
from app.memory.lexical import idf
from app.search.embedder import Embedder, Embedding
from app.search.excerpt import excerpt
from app.search.words import terms
from app.storage import documents
from app.storage.document_text import store_word
from app.storage.documents import Reader
from app.storage.engine.database import Database

log = logging.getLogger(__name__)

EMBEDDING_SECONDS = 2.0
"""What a question's embedding may take; the words alone answer afterwards. The first one loads the model."""
MAX_TERMS = 100
"""Of a question; each is looked up on its own."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. `score` is 0 to 1; `cues` are the parts it was made of, by name."""

    store: str
    path: str
    heading: str
    unit: Unit
    position: int
    score: float
    cues: dict[str, float]
    excerpt: str
    text: str
    modified_ms: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Best first. `by_meaning` tells whether vectors took part."""

    hits: tuple[Hit, ...]
    by_meaning: bool
    took_ms: float


class Search:
    """Over the stores of one database."""

    def __init__(
        self, database: Database, embedder: Embedder | None = None, *, embedding_seconds: float = EMBEDDING_SECONDS
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._embedding_seconds = embedding_seconds
        self._closeness = Closeness()
        self._asking: asyncio.Task[list[Embedding]] | None = None
        self._is_late = False

    async def search(self, question: str, stores: Sequence[str], *, limit: int) -> SearchResult:
        """The `limit` best chunks of the stores.

        Raises:
            Unavailable: the database did not answer.
        """
        started = time.perf_counter()
        embedding = await self._embed(question)
        find = partial(self._find, question=question, stores=stores, embedding=embedding, limit=limit)
        hits, by_meaning = await self._database.read(find)
        return SearchResult(tuple(hits), by_meaning, (time.perf_counter() - started) * 1000)

    def drop(self, store: str) -> None:
        """Chunks of the store were removed: keep no copy of them."""
        self._closeness.drop(store_word(store))

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _embed(self, question: str) -> Embedding | None:
        """`None` when there is no embedder, it fails, or it is late. One that hangs is not asked again meanwhile."""
        if self._embedder is None or not self._closeness.is_available:
            return None
        if self._asking is not None and not self._asking.done() and self._is_late:
            return None
        asking = asyncio.create_task(self._embedder.embed([question], is_query=True), name="embedding of a search")
        self._asking, self._is_late = asking, False
        done, _ = await asyncio.wait([asking], timeout=self._embedding_seconds)
        if not done:
            self._is_late = True
            asking.add_done_callback(_retrieve)
            return None
        return _retrieve(asking)

    # -- on a reading thread ----------------------------------------------------------------------------------

    def _find(
        self, connection: Reader, question: str, stores: Sequence[str], embedding: Embedding | None, limit: int
    ) -> tuple[list[Hit], bool]:
        words = [store_word(store) for store in stores]
        asked = list(dict.fromkeys(terms(question)))[:MAX_TERMS]
        meaning = None
        if embedding is not None and self._embedder is not None:
            meaning = self._closeness.find(connection, words, self._embedder.model, embedding.vector, most=CANDIDATES)
        size = documents.size(connection, words)
        rows, frequencies = documents.candidates(connection, words, asked, total=size, limit=CANDIDATES)
        closest = meaning.closest if meaning is not None else []
        chunks = documents.indexed(connection, words, list(dict.fromkeys([*rows, *closest])))
        rarity = {term: idf(size, frequencies[term]) for term in asked}
        ranked = rank(chunks, rarity, meaning.cosines if meaning is not None else {})
        return [_hit(one, frozenset(asked)) for one in ranked[:limit]], meaning is not None


def _hit(one: Ranked, wanted: frozenset[str]) -> Hit:
    chunk = one.chunk
    return Hit(
        store=chunk.store,
        path=chunk.path,
        heading=chunk.heading,
        unit=kind_of(chunk.path).unit,
        position=chunk.position,
        score=one.score,
        cues=one.cues,
        excerpt=excerpt(chunk.text, wanted),
        text=chunk.text,
        modified_ms=chunk.mtime_ns // 1_000_000,
    )


def _retrieve(task: asyncio.Task[list[Embedding]]) -> Embedding | None:
    if task.cancelled():
        return None
    if task.exception() is not None:
        log.debug("a question could not be embedded", exc_info=task.exception())
        return None
    return task.result()[0]
