"""Backlog: texts without vectors, embedded in the background and tried again when the embedder fails."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.errors import Unavailable
from app.search.embedder import Embedder, Embedding, EmbeddingFailed
from app.search.mark import AGAIN_SECONDS, Mark
from app.storage.engine.unit_of_work import WriteConflict, WriteFailed

log = logging.getLogger(__name__)

PAUSES = (1.0, 5.0, 30.0, 60.0)
"""Seconds before the next attempt while the embedder fails: after the first failure, the second, …"""
LOOK_SECONDS = 1.0
"""How often to look for rows that other servers have added."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A stored row that has no vectors of the present model, and the texts to embed for it."""

    row: int
    texts: Sequence[str]


class Source(Protocol):
    """Where pending rows come from and their vectors go."""

    what: str
    """What is embedded, for the log: memories, documents."""

    async def find(self, model: str, *, after: int) -> Sequence[Pending]:
        """Some pending rows beyond row `after`, in ascending order; empty when there are no more."""
        ...

    async def store(self, model: str, embedded: Sequence[tuple[int, Sequence[Embedding]]]) -> None:
        """Store the vectors of rows together."""
        ...


class Backlog:
    """`run` is a background task; `wake` it when there may be something to embed. Without an embedder: does nothing."""

    def __init__(
        self,
        embedder: Embedder | None,
        source: Source,
        *,
        batch: int,
        batch_seconds: float,
        yields: bool = False,
        is_shared: bool = False,
    ) -> None:
        """`batch`: texts embedded in one call, which counts as failed after `batch_seconds`.

        `yields`: rest as long as each step took, so that half of a core at most is used. `is_shared`: other servers
        add rows, too, without waking this one.
        """
        self._embedder = embedder
        self._source = source
        self._batch = batch
        self._batch_seconds = batch_seconds
        self._yields = yields
        self._is_shared = is_shared
        self._done = self._start()
        """Up to which row nothing is pending, so that each wake-up reads the new rows only."""
        self._restarts = 0
        self._has_work = asyncio.Event()

    def wake(self) -> None:
        self._has_work.set()

    def start_over(self) -> None:
        """Vectors were removed: look for pending rows from the first row on."""
        self._done = self._start()
        self._restarts += 1
        self._has_work.set()

    async def run(self) -> None:
        """Embed pending rows for as long as the server lives. Until then they are found by keyword only."""
        failures = 0
        while True:
            await self._wait_for_work()
            try:
                await self.embed_pending()
                failures = 0
            except (WriteFailed, WriteConflict, Unavailable) as error:
                log.debug("vectors could not be stored: %s", error)
                failures += 1
            except Exception as error:  # the edge of a background task: an embedder may raise anything
                if not failures:
                    log.warning(
                        "embedding of %s has stalled, they are found by keyword only until it continues: %s",
                        self._source.what,
                        error,
                    )
                failures += 1
            if failures:
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])
                self._has_work.set()

    async def _wait_for_work(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS if self._is_shared else None):
                await self._has_work.wait()
        except TimeoutError:
            return
        self._has_work.clear()

    def _start(self) -> Mark:
        return Mark(AGAIN_SECONDS if self._is_shared else 0.0)

    async def embed_pending(self) -> int:
        """Embed every row that has no vectors of the present model; returns how many there were.

        Raises:
            EmbeddingFailed, TimeoutError: the embedder failed; rows embedded before are stored.
        """
        if self._embedder is None:
            return 0
        done, restarts = 0, self._restarts
        after = self._done.since()
        while True:
            if restarts != self._restarts:
                restarts, after = self._restarts, 0
            pending = await self._source.find(self._embedder.model, after=after)
            if not pending:
                return done
            started = time.monotonic()
            await self._embed(self._embedder, pending)
            if restarts == self._restarts:
                after = pending[-1].row
                self._done.reach(after)
            done += len(pending)
            if self._yields:
                await asyncio.sleep(time.monotonic() - started)

    async def _embed(self, embedder: Embedder, pending: Sequence[Pending]) -> None:
        texts = list(itertools.chain.from_iterable([one.texts for one in pending]))
        by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # equal lengths need no padding
        found: dict[int, Embedding | None] = {}
        for start in range(0, len(by_length), self._batch):
            places = by_length[start : start + self._batch]
            embeddings = await self._embed_batch(embedder, [texts[place] for place in places])
            found.update(zip(places, embeddings, strict=True))
        numbers = iter(range(len(texts)))
        by_row = [(one.row, [found[next(numbers)] for _ in one.texts]) for one in pending]
        embedded = [(row, [one for one in some if one is not None]) for row, some in by_row]
        await self._source.store(embedder.model, [(row, some) for row, some in embedded if some])

    async def _embed_batch(self, embedder: Embedder, texts: Sequence[str]) -> Sequence[Embedding | None]:
        """One embedding per text; `None` for a text that the embedder rejects while it accepts others.

        Raises:
            EmbeddingFailed, TimeoutError: it accepted none.
        """
        async with asyncio.timeout(self._batch_seconds):
            try:
                return await embedder.embed(texts)
            except EmbeddingFailed:
                if len(texts) == 1:
                    raise
        found: list[Embedding | None] = []
        for text in texts:
            try:
                found += await self._embed_batch(embedder, [text])
            except EmbeddingFailed as error:
                log.debug("a text of %s is not embedded: %s", self._source.what, error)
                found.append(None)
                if len(found) >= min(3, len(texts)) and not any(found):  # the embedder fails, whatever the text
                    raise
        return found
