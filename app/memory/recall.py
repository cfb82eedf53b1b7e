"""Recall: a question in, memories out, each with its score and the cues that spoke for it.

Words and meaning are looked up together; when the embedder is missing, raises or takes longer than its share of the
budget, the words alone answer. Never an error because of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from app.domain.memory import Memory, Owner, Scope
from app.memory import corrections, rank
from app.memory.cues import Asked, ask
from app.memory.lexical import Pool
from app.memory.names import without_names
from app.memory.rank import Meaning, Ranked
from app.memory.scope import audiences_seen
from app.memory.shelves import Shelves, Whole, nominate
from app.search.embedder import Embedder, Embedding
from app.storage import memory_index
from app.storage.engine.database import Database
from app.storage.memories import Reader
from app.storage.vectors import Vectors

log = logging.getLogger(__name__)

HANGS_SECONDS = 10.0
"""An embedder that takes longer for a question is given up, and asked with the next one."""
LATE = 40
"""Hits that late interaction looks at again."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A memory that came back. `score` is 0 to 1; `cues` are the parts it was made of, by name.

    `before` and `after` are its neighbours in the session, for context. `corrects` are the ids of memories that it
    made untrue.
    """

    memory: Memory
    score: float
    cues: dict[str, float]
    before: Memory | None = None
    after: Memory | None = None
    corrects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recollection:
    """What one question brought back, best first. `by_meaning` tells whether vectors took part."""

    hits: tuple[Hit, ...]
    by_meaning: bool
    took_ms: float


@dataclass(slots=True)
class _Question:
    text: str
    audiences: tuple[str, ...]
    whole: Whole | None
    embedding: Embedding | None = None
    model: str = ""
    limit: int = 5
    threshold: float = 0.0
    with_neighbours: bool = True


class Recall:
    """Answers from one database. Caches are bounded; `drop` empties them of what was forgotten."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder | None = None,
        *,
        late_interaction: bool = True,
        embedding_seconds: float | None = None,
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._late = late_interaction
        patience = embedder.patience if embedder is not None else 0.0
        self._embedding_seconds = patience if embedding_seconds is None else embedding_seconds
        self._shelves = Shelves()
        self._vectors = Vectors()
        self._asking: asyncio.Task[list[Embedding]] | None = None

    async def recall(
        self,
        question: str,
        *,
        owner: Owner,
        scope: Scope,
        limit: int = 5,
        threshold: float = 0.0,
        with_neighbours: bool = True,
        audiences: Sequence[str] | None = None,
    ) -> Recollection:
        """The `limit` best memories that the owner's session may see, none below `threshold` (0 to 1).

        `audiences`: look among these instead; the caller has made sure that they are the asker's.

        Raises:
            Unavailable: the database did not answer.
        """
        started = time.perf_counter()
        audiences = tuple(audiences) if audiences is not None else audiences_seen(owner, scope)
        if not audiences:
            return Recollection((), by_meaning=False, took_ms=0.0)
        whole = await self._database.read(partial(self._shelves.refresh, audiences=audiences))
        asked = _Question(question, audiences, whole, limit=limit, threshold=threshold, with_neighbours=with_neighbours)
        asked.embedding = await self._embed(without_names(question, whole.names if whole is not None else frozenset()))
        asked.model = self._embedder.model if self._embedder is not None else ""
        hits, by_meaning = await self._database.read(partial(self._answer, question=asked))
        return Recollection(tuple(hits), by_meaning, (time.perf_counter() - started) * 1000)

    def drop(self, audiences: Sequence[str] | None = None) -> None:
        """Something was forgotten: keep no copy of it."""
        self._shelves.drop(audiences)
        self._vectors.drop(audiences)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _embed(self, question: str) -> Embedding | None:
        """`None` when there is no embedder, it fails, or it is late. One that hangs is not asked again meanwhile."""
        if self._embedder is None or not self._vectors.is_available:
            return None
        if self._asking is not None and not self._asking.done() and self._is_late:
            return None
        asking = asyncio.create_task(_ask(self._embedder, question), name="embedding of a question")
        asking.add_done_callback(_retrieve)
        self._asking, self._is_late = asking, False
        done, _ = await asyncio.wait([asking], timeout=self._embedding_seconds)
        if not done:
            self._is_late = True
            return None
        if asking.cancelled() or asking.exception() is not None:
            return None
        return asking.result()[0]

    _is_late = False

    # -- on a reading thread ----------------------------------------------------------------------------------

    def _answer(self, connection: Reader, question: _Question) -> tuple[list[Hit], bool]:
        meaning = self._scan(connection, question)
        if question.whole is not None:
            asked = ask(question.text, question.whole.names)
            with self._shelves.lock:
                ranked = rank.rank(Pool.of(question.whole.shelves), asked, meaning)
        else:
            asked, pool = self._nominated(connection, question, meaning)
            ranked = rank.rank(pool, asked, meaning)
        if self._late and meaning is not None:
            ranked = self._look_again(connection, question, ranked)
        best = ranked[: max(20, 2 * question.limit)]
        ranked = corrections.settle(asked, best, meaning.alike if meaning is not None else None)
        return _hits(connection, question, ranked), meaning is not None

    def _scan(self, connection: Reader, question: _Question) -> Meaning | None:
        if question.embedding is None:
            return None
        scan = self._vectors.scan(
            connection, question.audiences, question.model, question.embedding.vector, most=rank.CANDIDATES
        )
        return Meaning(scan.closest, scan.cosines, scan.alike) if scan is not None else None

    def _nominated(self, connection: Reader, question: _Question, meaning: Meaning | None) -> tuple[Asked, Pool]:
        """A large scope has too many people to know them all: names stay words there, and match speakers besides."""
        asked = ask(question.text, frozenset())
        size, frequent = self._shelves.look_up(connection, question.audiences)
        closest = meaning.closest if meaning else ()
        pool = nominate(connection, question.audiences, asked.terms, closest, size=size, frequent=frequent)
        names = frozenset().union(*[doc.names for doc in pool.docs()])
        return ask(question.text, names), pool

    def _look_again(self, connection: Reader, question: _Question, ranked: list[Ranked]) -> list[Ranked]:
        assert question.embedding is not None
        if question.embedding.pieces is None:
            return ranked
        groups = {one.doc.row: one.before for one in ranked[:LATE]}
        close = self._vectors.compare_pieces(connection, groups, question.model, question.embedding.pieces)
        return rank.rank_again(ranked[:LATE], close) + ranked[LATE:] if close else ranked


def _hits(connection: Reader, question: _Question, ranked: list[Ranked]) -> list[Hit]:
    chosen = [one for one in ranked if one.score >= question.threshold]
    # What was forgotten a moment ago is still ranked, and not there any more.
    found = _stored(connection, question, chosen[: question.limit])
    if [one for one in chosen[: question.limit] if one.doc.row not in found]:
        found = _stored(connection, question, chosen)
    chosen = [one for one in chosen if one.doc.row in found][: question.limit]
    near: dict[tuple[str, int], Memory] = {}
    if question.with_neighbours:
        places = {(one.doc.session_id, one.doc.place + step) for one in chosen for step in (-1, 1)}
        near = {
            (memory.owner.session_id, memory.place): memory
            for memory in memory_index.neighbours(connection, question.audiences, sorted(places))
        }
    ids = {row: memory.memory_id for row, memory in found.items()}
    return [
        Hit(
            memory=found[one.doc.row],
            score=one.score,
            cues=one.named_cues(),
            before=near.get((one.doc.session_id, one.doc.place - 1)),
            after=near.get((one.doc.session_id, one.doc.place + 1)),
            corrects=tuple([ids[row] for row in one.corrects if row in ids]),
        )
        for one in chosen
    ]


def _stored(connection: Reader, question: _Question, ranked: list[Ranked]) -> dict[int, Memory]:
    """The memories by row, and those that they correct."""
    rows = dict.fromkeys([one.doc.row for one in ranked] + [row for one in ranked for row in one.corrects])
    return memory_index.by_rows(connection, question.audiences, list(rows))


async def _ask(embedder: Embedder, question: str) -> list[Embedding]:
    async with asyncio.timeout(HANGS_SECONDS):
        return await embedder.embed([question], is_query=True)


def _retrieve(task: asyncio.Task[list[Embedding]]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.debug("a question could not be embedded", exc_info=task.exception())
