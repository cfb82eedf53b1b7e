"""The long-term memories of an agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from hector_client import _operations as operations
from hector_client._operations import JSON, Page

if TYPE_CHECKING:
    from hector_client._async.client import Client


class Memories:
    """The long-term memories of an agent; only those of the client's `user`, if it has one."""

    def __init__(self, client: Client, agent: str) -> None:
        self._client = client
        self._agent = agent

    async def list(self, *, limit: int = 50, session: str | None = None, kind: str | None = None) -> Page:
        """Newest first. `kind`: `message`, `summary` or `note`."""
        return await self._client.driver.call(operations.memories(self._agent, limit=limit, session=session, kind=kind))

    async def search(
        self, query: str, *, limit: int = 10, session: str | None = None, scope: str | None = None
    ) -> JSON:
        call = operations.search_memories(self._agent, query, limit=limit, session=session, scope=scope)
        return await self._client.driver.call(call)

    async def get(self, memory_id: str) -> JSON:
        """A memory with its earlier texts."""
        return await self._client.driver.call(operations.memory(self._agent, memory_id))

    async def add(
        self, text: str, *, session: str | None = None, scope: str | None = None, pinned: bool | None = None
    ) -> JSON:
        body = {"text": text, "session_id": session, "scope": scope, "pinned": pinned}
        return await self._client.driver.call(operations.add_memory(self._agent, body))

    async def change(self, memory_id: str, *, text: str | None = None, pinned: bool | None = None) -> JSON:
        change = {"text": text, "pinned": pinned}
        return await self._client.driver.call(operations.change_memory(self._agent, memory_id, change))

    async def delete(self, memory_id: str) -> JSON:
        return await self._client.driver.call(operations.delete_memory(self._agent, memory_id))

    async def export(self, *, session: str | None = None) -> AsyncGenerator[bytes]:
        """JSON Lines, in pieces of any size. May raise Unreachable after the first piece."""
        async with aclosing(
            self._client.driver.stream(operations.export_memories(self._agent, session=session))
        ) as pieces:
            async for piece in pieces:
                yield piece

    async def import_lines(self, lines: bytes) -> JSON:
        """Add the memories of an export that are not present yet."""
        return await self._client.driver.call(operations.import_memories(self._agent, lines))

    async def embed(self, *, again: bool = False) -> JSON:
        """Start embedding what the current embedder has not embedded, with `again` everything. Returns the progress."""
        return await self._client.driver.call(operations.embed_memories(self._agent, again=again))
