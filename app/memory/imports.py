"""Imports: those that are running. A deletion request stops them, for they might bring back what it deletes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.errors import Conflict
from app.domain.memory import Owner


class Import:
    """One import of memories."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._is_stopped = False
        self._is_over = asyncio.Event()

    def check(self) -> None:
        """Raises Conflict (`import_stopped`)."""
        if self._is_stopped:
            raise Conflict(
                "Something was forgotten while this import was running, so it stopped; import again what is to stay.",
                reason="import_stopped",
            )

    def is_of(self, agent: str, principal: str) -> bool:
        return (self._owner.agent, self._owner.principal) == (agent, principal)

    async def stop(self) -> None:
        """Until nothing more of it will be written."""
        self._is_stopped = True
        await self._is_over.wait()

    def end(self) -> None:
        self._is_over.set()


class Imports:
    def __init__(self) -> None:
        self._running: set[Import] = set()

    @contextmanager
    def begin(self, owner: Owner) -> Iterator[Import]:
        running = Import(owner)
        self._running.add(running)
        try:
            yield running
        finally:
            self._running.discard(running)
            running.end()

    async def stop(self, agent: str, principal: str) -> None:
        """Stop what a principal imports for an agent."""
        for running in [one for one in self._running if one.is_of(agent, principal)]:
            await running.stop()
