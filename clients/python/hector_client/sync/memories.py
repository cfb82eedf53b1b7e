# Written by make_sync.py: change _async/memories.py instead.
"""The long-term memories of an agent."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from hector_client import _operations as operations
from hector_client._operations import JSON, Page

if TYPE_CHECKING:
    from hector_client.sync.client import Client


class Memories:
    """The long-term memories of an agent; only those of the client's `user`, if it has one."""

    def __init__(self, client: Client, agent: str) -> None:
        self._client = client
        self._agent = agent

    def list(self, *, limit: int = 50, session: str | None = None, kind: str | None = None) -> Page:
        """Newest first. `kind`: `message`, `summary` or `note`."""
        return self._client.driver.call(operations.memories(self._agent, limit=limit, session=session, kind=kind))

    def search(self, query: str, *, limit: int = 10, session: str | None = None, scope: str | None = None) -> JSON:
        call = operations.search_memories(self._agent, query, limit=limit, session=session, scope=scope)
        return self._client.driver.call(call)

    def get(self, memory_id: str) -> JSON:
        """A memory with its earlier texts."""
        return self._client.driver.call(operations.memory(self._agent, memory_id))

    def add(
        self, text: str, *, session: str | None = None, scope: str | None = None, pinned: bool | None = None
    ) -> JSON:
        body = {"text": text, "session_id": session, "scope": scope, "pinned": pinned}
        return self._client.driver.call(operations.add_memory(self._agent, body))

    def change(self, memory_id: str, *, text: str | None = None, pinned: bool | None = None) -> JSON:
        change = {"text": text, "pinned": pinned}
        return self._client.driver.call(operations.change_memory(self._agent, memory_id, change))

    def delete(self, memory_id: str) -> JSON:
        return self._client.driver.call(operations.delete_memory(self._agent, memory_id))

    def export(self, *, session: str | None = None) -> Generator[bytes]:
        """JSON Lines, in pieces of any size. May raise Unreachable after the first piece."""
        with closing(self._client.driver.stream(operations.export_memories(self._agent, session=session))) as pieces:
            yield from pieces

    def import_lines(self, lines: bytes) -> JSON:
        """Add the memories of an export that are not present yet."""
        return self._client.driver.call(operations.import_memories(self._agent, lines))

    def embed(self, *, again: bool = False) -> JSON:
        """Start embedding what the current embedder has not embedded, with `again` everything. Returns the progress."""
        return self._client.driver.call(operations.embed_memories(self._agent, again=again))
