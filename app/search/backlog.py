"""The backlog of texts without vectors: worked off in the background, tried again when the embedder fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.domain.errors import Unavailable
from app.storage.engine.unit_of_work import WriteConflict, WriteFailed

log = logging.getLogger(__name__)

PAUSES = (1.0, 5.0, 30.0, 60.0)
"""Seconds between attempts of an embedder that fails."""


class Backlog:
    """`wake` it when there may be something to embed; `run` is a background task."""

    def __init__(self, embed_pending: Callable[[], Awaitable[int]], *, what: str) -> None:
        """`what` is embedded, for the log: memories, documents."""
        self._embed_pending = embed_pending
        self._what = what
        self._has_work = asyncio.Event()

    def wake(self) -> None:
        self._has_work.set()

    async def run(self) -> None:
        """Embed what has no vector yet, for as long as the server lives; it is found by its words meanwhile."""
        failures = 0
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            try:
                await self._embed_pending()
                failures = 0
            except (WriteFailed, WriteConflict, Unavailable) as error:
                log.debug("vectors could not be stored: %s", error)
                failures += 1
            except Exception as error:  # an embedder is somebody else's code
                if not failures:
                    log.warning("%s are not embedded for now, and found by their words: %s", self._what, error)
                failures += 1
            if failures:
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])
                self._has_work.set()
