"""Search: a question in, chunks of documents out. Words and meaning nominate, a few cues rank.

The terms, their rarity and the vectors are those of memories; the ranking is not: what tells there who spoke, when and
in answer to what says nothing about a document (docs/documents.md has figures).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from app.documents.kinds import kind_of
from app.documents.rank import CANDIDATES, Ranked, rank
from app.documents.section import Unit
from app.search.embedder import Embedder, Embedding
from app.search.excerpt import excerpt
from app.search.question import QuestionEmbedding
from app.search.vectors import Vectors
from app.search.words import terms
from app.storage import documents
from app.storage.document_text import store_word
from app.storage.documents import Reader
from app.storage.engine.database import Database

EMBEDDING_SECONDS = 2.0
"""What a question's embedding may take; the words alone answer afterwards. The first one loads the model."""
MAX_VECTORS = 100_000
"""Vectors of one store that are kept in memory: 150 MB at 384 numbers each. Chunks beyond are found by keyword only."""
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
        self._embedding = QuestionEmbedding(embedder, wait_seconds=embedding_seconds)
        self._vectors = Vectors(max_vectors=None, max_per_owner=MAX_VECTORS, several=True)

    async def search(self, question: str, stores: Sequence[str], *, limit: int) -> SearchResult:
        """The `limit` best chunks of the stores.

        Raises:
            Unavailable: the database did not answer.
        """
        started = time.perf_counter()
        embedding = await self._embedding.embed(question)
        find = partial(self._find, question=question, stores=stores, embedding=embedding, limit=limit)
        hits, by_meaning = await self._database.read(find)
        return SearchResult(tuple(hits), by_meaning, (time.perf_counter() - started) * 1000)

    def drop(self, store: str) -> None:
        """Chunks of the store were removed: keep no copy of them."""
        self._vectors.drop([store_word(store)])

    async def close(self) -> None:
        await self._embedding.close()

    # -- on a reading thread ----------------------------------------------------------------------------------

    def _find(
        self, connection: Reader, question: str, stores: Sequence[str], embedding: Embedding | None, limit: int
    ) -> tuple[list[Hit], bool]:
        words = [store_word(store) for store in stores]
        asked = list(dict.fromkeys(terms(question)))[:MAX_TERMS]
        scan = None
        if embedding is not None:
            model = self._embedding.model
            load = partial(documents.vectors_beyond, connection, model=model)
            scan = self._vectors.scan(words, model, embedding.vector, load=load, most=CANDIDATES)
        size = documents.size(connection, words)
        rows, frequencies = documents.candidates(connection, words, asked, total=size, limit=CANDIDATES)
        closest = scan.closest if scan is not None else []
        chunks = documents.indexed(connection, words, list(dict.fromkeys([*rows, *closest])))
        cosines = scan.cosines([chunk.row for chunk in chunks]) if scan is not None else {}
        ranked = rank(chunks, asked, frequencies, cosines, size=size)
        return [_hit(one, frozenset(asked)) for one in ranked[:limit]], scan is not None


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
