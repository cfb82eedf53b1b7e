"""Search: answers a question with chunks of documents. Full text and vectors nominate candidates, four cues rank them.

Terms, BM25 and vectors are shared with memories (app/search); the ranking is not, because cues such as speaker, time
and the turn before mean nothing for a document (docs/documents.md has figures).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from app.documents.kinds import kind_of
from app.documents.rank import CANDIDATES, RankedChunk, rank
from app.documents.section import Unit
from app.search.embedder import Embedder, Embedding
from app.search.excerpt import excerpt
from app.search.question import QuestionEmbedding
from app.search.vectors import Vectors
from app.search.words import terms
from app.storage import documents
from app.storage.connection import Connection
from app.storage.document_text import store_word
from app.storage.engine.database import Database

EMBEDDING_SECONDS = 2.0
"""How long a question waits for its vector before it is answered by keyword only. The first one loads the model."""
MAX_VECTORS = 100_000
"""Vectors of one store that are kept in memory: 150 MB at 384 numbers each. Chunks beyond are found by keyword only."""
MAX_TERMS = 100
"""Terms of a question that are searched; each takes a lookup of its own."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A found chunk with where it is from. `score` is 0 to 1; `cues` are its parts by name."""

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
    """Hits, best first. `by_meaning`: whether vectors took part."""

    hits: tuple[Passage, ...]
    by_meaning: bool
    took_ms: float


class Search:
    """Searches the document stores of one database."""

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
        """Chunks of the store were deleted: drop its cached vectors."""
        self._vectors.drop([store_word(store)])

    async def close(self) -> None:
        await self._embedding.close()

    # -- on a reading thread ----------------------------------------------------------------------------------

    def _find(
        self, connection: Connection, question: str, stores: Sequence[str], embedding: Embedding | None, limit: int
    ) -> tuple[list[Passage], bool]:
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
        return [_passage(one, frozenset(asked)) for one in ranked[:limit]], scan is not None


def _passage(one: RankedChunk, wanted: frozenset[str]) -> Passage:
    chunk = one.chunk
    return Passage(
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
