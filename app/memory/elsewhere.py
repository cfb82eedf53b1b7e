"""Elsewhere: the other servers that remember in the same database, each with copies of its own in memory."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class OtherMemories(Protocol):
    """What is told here is told until every server has heard it."""

    def drop(self, audiences: Collection[str]) -> None:
        """Have them drop what they have in memory of these audiences. Does not wait."""
        ...

    def embed_again(self) -> None:
        """Vectors were removed: have whoever embeds look at every memory. Does not wait."""
        ...

    async def told(self) -> None:
        """Return when they have done all of it. Raises Unavailable: not in time; they will."""
        ...
