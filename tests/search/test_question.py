"""The embedding of a question, which no answer waits for longer than it may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.search import question
from app.search.embedder import Embedding, EmbeddingFailed
from app.search.hash_embedder import HashEmbedder
from app.search.question import QuestionEmbedding


class Held(HashEmbedder):
    """Answers when it is let go; `asked` counts requests."""

    def __init__(self) -> None:
        self.asked = 0
        self.let_go = asyncio.Event()

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        self.asked += 1
        await self.let_go.wait()
        return await super().embed(texts)


async def test_a_question_gets_its_vector() -> None:
    embedding = QuestionEmbedding(HashEmbedder(), wait_seconds=5.0)
    assert await embedding.embed("dogs") == (await HashEmbedder().embed(["dogs"]))[0]
    assert embedding.model == "hash-64"
    await embedding.close()


async def test_without_an_embedder_there_is_none() -> None:
    embedding = QuestionEmbedding(None, wait_seconds=5.0)
    assert await embedding.embed("dogs") is None
    assert embedding.model == ""
    await embedding.close()


async def test_an_embedder_that_raises_gives_none() -> None:
    class Broken(HashEmbedder):
        async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
            raise EmbeddingFailed("no such server")

    assert await QuestionEmbedding(Broken(), wait_seconds=5.0).embed("dogs") is None


async def test_a_late_embedder_is_not_asked_again_before_it_answers() -> None:
    held = Held()
    embedding = QuestionEmbedding(held, wait_seconds=0.0)
    assert [await embedding.embed("dogs") for _ in range(3)] == [None, None, None]
    assert held.asked == 1

    held.let_go.set()
    assert embedding._request is not None
    await embedding._request
    embedding._wait_seconds = 5.0
    assert await embedding.embed("dogs") is not None


async def test_an_embedder_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "HANGS_SECONDS", 0.01)
    held = Held()
    embedding = QuestionEmbedding(held, wait_seconds=0.0)
    assert await embedding.embed("dogs") is None
    assert embedding._request is not None
    await asyncio.wait([embedding._request])
    held.let_go.set()
    embedding._wait_seconds = 5.0
    assert await embedding.embed("dogs") is not None


async def test_closing_ends_a_request_that_hangs() -> None:
    embedding = QuestionEmbedding(Held(), wait_seconds=0.0)
    await embedding.embed("dogs")
    await embedding.close()
    assert embedding._request is not None
    assert embedding._request.cancelled()
