"""QuestionEmbedding: the vector of a question, as long as it does not keep the answer waiting."""

from __future__ import annotations

import asyncio
import logging

from app.search import vectors
from app.search.embedder import Embedder, Embedding

log = logging.getLogger(__name__)

HANGS_SECONDS = 10.0
"""A request that takes longer is given up, so that the next question can ask the embedder again."""


class QuestionEmbedding:
    """Embeds one question at a time for one user of the embedder. Belongs to one event loop."""

    def __init__(self, embedder: Embedder | None, *, wait_seconds: float) -> None:
        """`wait_seconds`: how long a question waits for its vector before it is answered by keyword only."""
        self._embedder = embedder if vectors.is_available() else None
        self._wait_seconds = wait_seconds
        self._request: asyncio.Task[list[Embedding]] | None = None
        self._is_late = False

    @property
    def model(self) -> str:
        """The embedder's model; empty without an embedder."""
        return self._embedder.model if self._embedder is not None else ""

    async def embed(self, question: str) -> Embedding | None:
        """`None` when there is no embedder, it fails, or it is late. While a late request runs no other is started."""
        if self._embedder is None:
            return None
        if self._request is not None and not self._request.done() and self._is_late:
            return None
        request = asyncio.create_task(_ask(self._embedder, question), name="embedding of a question")
        request.add_done_callback(_log_failure)
        self._request, self._is_late = request, False
        done, _ = await asyncio.wait([request], timeout=self._wait_seconds)
        if not done:
            self._is_late = True
            return None
        if request.cancelled() or request.exception() is not None:
            return None
        return request.result()[0]

    async def close(self) -> None:
        if self._request is not None:
            self._request.cancel()
            await asyncio.wait([self._request])


async def _ask(embedder: Embedder, question: str) -> list[Embedding]:
    async with asyncio.timeout(HANGS_SECONDS):
        return await embedder.embed([question], is_query=True)


def _log_failure(request: asyncio.Task[list[Embedding]]) -> None:
    if not request.cancelled() and request.exception() is not None:
        log.debug("a question could not be embedded", exc_info=request.exception())
