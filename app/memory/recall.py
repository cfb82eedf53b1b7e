"""Recall: answers a question with memories, each with its score and cues.

Searches by keyword and by vector together. When the embedder is missing, fails or is too slow, recall answers by
keyword only; that is never an error.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from app.domain.memory import Memory, Owner, Scope
from app.memory import corrections, duplicates, rank
from app.memory.cues import Asked, ask
from app.memory.names import without_names
from app.memory.rank import Meaning, Ranked
from app.memory.scope import audiences_seen
from app.memory.shelf import Pool
from app.memory.shelves import Shelves, Whole, nominate
from app.search.embedder import Embedder, Embedding
from app.search.late_interaction import compare_pieces
from app.search.mark import AGAIN_SECONDS
from app.search.question import QuestionEmbedding
from app.search.vectors import Vectors
from app.storage import memory_index
from app.storage.connection import Connection
from app.storage.engine.database import Database

LATE = 40
"""Hits that late interaction ranks again."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A recalled memory. `score` is 0 to 1; `cues` are its parts by name.

    `before` and `after` are its neighbours in the session, for context. `corrects`: the ids of memories that it makes
    untrue. `wanted`: the terms of the question.
    """

    memory: Memory
    score: float
    cues: dict[str, float]
    wanted: frozenset[str] = frozenset()
    before: Memory | None = None
    after: Memory | None = None
    corrects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recollection:
    """The result of one recall, best hit first. `by_meaning`: whether vectors took part."""

    hits: tuple[Hit, ...]
    by_meaning: bool
    took_ms: float


@dataclass(slots=True)
class _Question:
    text: str
    audiences: tuple[str, ...]
    whole: Whole | None
    embedding: Embedding | None = None
    limit: int = 5
    threshold: float = 0.0
    with_neighbours: bool = True
    each_once: bool = False


class Recall:
    """Recalls from one database. Its caches are bounded; `drop` removes deleted memories from them."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder | None = None,
        *,
        late_interaction: bool = True,
    ) -> None:
        again_seconds = AGAIN_SECONDS if database.is_shared else 0.0
        self._database = database
        self._late = late_interaction
        self._embedding = QuestionEmbedding(embedder, wait_seconds=embedder.patience if embedder is not None else 0.0)
        self._shelves = Shelves(again_seconds=again_seconds)
        self._vectors = Vectors(again_seconds=again_seconds)

    async def recall(
        self,
        question: str,
        *,
        owner: Owner,
        scope: Scope,
        limit: int = 5,
        threshold: float = 0.0,
        with_neighbours: bool = True,
        each_once: bool = False,
        audiences: Sequence[str] | None = None,
    ) -> Recollection:
        """The `limit` best memories that the owner's session may see, none below `threshold` (0 to 1).

        `each_once`: of memories that say the same only the best. `audiences`: search these instead; the caller has
        checked that the asker may see them.

        Raises:
            Unavailable: the database did not answer.
        """
        started = time.perf_counter()
        audiences = tuple(audiences) if audiences is not None else audiences_seen(owner, scope)
        if not audiences:
            return Recollection((), by_meaning=False, took_ms=0.0)
        whole = await self._database.read(partial(self._shelves.refresh, audiences=audiences))
        asked = _Question(
            question,
            audiences,
            whole,
            limit=limit,
            threshold=threshold,
            with_neighbours=with_neighbours,
            each_once=each_once,
        )
        names = whole.names if whole is not None else frozenset()
        asked.embedding = await self._embedding.embed(without_names(question, names))
        hits, by_meaning = await self._database.read(partial(self._answer, question=asked))
        return Recollection(tuple(hits), by_meaning, (time.perf_counter() - started) * 1000)

    def drop(self, audiences: Sequence[str] | None = None) -> None:
        """Remove some audiences, or everything, from the caches."""
        self._shelves.drop(audiences)
        self._vectors.drop(audiences)

    async def close(self) -> None:
        await self._embedding.close()

    # -- on a reading thread ----------------------------------------------------------------------------------

    def _answer(self, connection: Connection, question: _Question) -> tuple[list[Hit], bool]:
        meaning = self._scan(connection, question)
        if question.whole is not None:
            asked = ask(question.text, question.whole.names)
            with self._shelves.lock:
                ranked = rank.rank(Pool.of(question.whole.shelves), asked, meaning)
        else:
            asked, pool = self._nominated(connection, question, meaning)
            ranked = rank.rank(pool, asked, meaning)
        if self._late and meaning is not None:
            ranked = self._rank_late(connection, question, asked, ranked)
        alike = meaning.alike if meaning is not None else None
        enough = max(20, 2 * question.limit)
        best = duplicates.fold(ranked, alike, enough=enough) if question.each_once else ranked[:enough]
        ranked = corrections.settle(asked, best, alike)
        return _hits(connection, question, ranked, frozenset(asked.terms)), meaning is not None

    def _scan(self, connection: Connection, question: _Question) -> Meaning | None:
        if question.embedding is None:
            return None
        model = self._embedding.model
        load = partial(memory_index.vectors_beyond, connection, model=model)
        vector = question.embedding.vector
        scan = self._vectors.scan(question.audiences, model, vector, load=load, most=rank.CANDIDATES)
        return Meaning(scan.closest, scan.cosines, scan.alike) if scan is not None else None

    def _nominated(self, connection: Connection, question: _Question, meaning: Meaning | None) -> tuple[Asked, Pool]:
        """The candidates of a large scope, whose participants are not cached.

        Names are searched as words first; then the candidates' speakers count as the participants.
        """
        asked = ask(question.text, frozenset())
        size, frequent = self._shelves.look_up(connection, question.audiences)
        closest = meaning.closest if meaning else ()
        pool = nominate(connection, question.audiences, asked.terms, closest, size=size, frequent=frequent)
        names = frozenset().union(*[doc.names for doc in pool.docs()])
        return ask(question.text, names), pool

    def _rank_late(
        self, connection: Connection, question: _Question, asked: Asked, ranked: list[Ranked]
    ) -> list[Ranked]:
        assert question.embedding is not None
        if question.embedding.pieces is None:
            return ranked
        groups = {one.doc.row: one.before for one in ranked[:LATE]}
        rows = {*groups, *itertools.chain.from_iterable(groups.values())}
        stored = memory_index.pieces(connection, rows, model=self._embedding.model)
        close = compare_pieces(stored, groups, question.embedding.pieces)
        return rank.rank_again(ranked[:LATE], asked, close) + ranked[LATE:] if close else ranked


def _hits(connection: Connection, question: _Question, ranked: list[Ranked], wanted: frozenset[str]) -> list[Hit]:
    chosen = [one for one in ranked if one.score >= question.threshold]
    # A memory deleted a moment ago may still be ranked from the cache.
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
            wanted=wanted,
            before=near.get((one.doc.session_id, one.doc.place - 1)),
            after=near.get((one.doc.session_id, one.doc.place + 1)),
            corrects=tuple([ids[row] for row in one.corrects if row in ids]),
        )
        for one in chosen
    ]


def _stored(connection: Connection, question: _Question, ranked: list[Ranked]) -> dict[int, Memory]:
    """The memories of the ranked rows, and of the rows they correct, by row."""
    rows = dict.fromkeys([one.doc.row for one in ranked] + [row for one in ranked for row in one.corrects])
    return memory_index.by_rows(connection, question.audiences, list(rows))
