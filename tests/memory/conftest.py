"""A long-term memory over each database, its words only or with vectors, and people to remember for."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from app.domain.memory import Owner
from app.memory.longterm import LongTermMemory, Saying
from app.search.embedder import Embedder
from app.storage.engine.database import Database

Make = Callable[..., LongTermMemory]


def owner(session_id: str = "s1", user_id: str = "ann", principal: str = "key", agent: str = "assistant") -> Owner:
    return Owner(agent, principal, user_id, session_id)


def said(text: str, *, role: str = "user", day: int = 1, message_id: str | None = None) -> Saying:
    return Saying(role, role, text, day * 86_400_000, message_id=message_id)


@pytest.fixture
async def make(database: Database) -> AsyncIterator[Make]:
    numbers = itertools.count(1)
    made: list[LongTermMemory] = []

    def make(embedder: Embedder | None = None) -> LongTermMemory:
        memory = LongTermMemory(
            database,
            new_id=lambda kind: f"{kind}_{next(numbers):05}",
            clock_ms=lambda: 1_000_000_000,
            embedder=embedder,
        )
        made.append(memory)
        return memory

    yield make
    for memory in made:
        await memory.close()


@pytest.fixture
def memory(make: Make) -> LongTermMemory:
    return make()
