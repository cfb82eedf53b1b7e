"""The backlog: every pending row gets its vectors, whatever the embedder does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.search import backlog
from app.search.backlog import Backlog, Pending
from app.search.embedder import Embedding, EmbeddingFailed
from app.search.hash_embedder import HashEmbedder


class Shelf:
    """Rows and their vectors. `found`: the rows beyond which it was asked."""

    what = "papers"

    def __init__(self, *texts: Sequence[str]) -> None:
        self.rows = {row: Pending(row, list(some)) for row, some in enumerate(texts, 1)}
        self.vectors: dict[int, int] = {}
        self.found: list[int] = []

    async def find(self, model: str, *, after: int) -> Sequence[Pending]:
        self.found.append(after)
        return [one for row, one in self.rows.items() if row > after and row not in self.vectors][:2]

    async def store(self, model: str, embedded: Sequence[tuple[int, Sequence[Embedding]]]) -> None:
        self.vectors |= {row: len(some) for row, some in embedded}


class Moody(HashEmbedder):
    """Fails while it is told to, and always for a text with `xyzzy`. `batches`: how many texts it was given."""

    fails = False

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        self.batches.append(len(texts))
        if self.fails or any("xyzzy" in text for text in texts):
            raise EmbeddingFailed("not now")
        return await super().embed(texts)


def of(embedder: HashEmbedder | None, shelf: Shelf, *, batch: int = 3) -> Backlog:
    return Backlog(embedder, shelf, batch=batch, batch_seconds=5.0)


async def test_each_row_gets_a_vector_for_each_of_its_texts_in_batches() -> None:
    shelf, embedder = Shelf(["a"], ["b", "c", "d"], ["e", "f"]), Moody()
    assert await of(embedder, shelf).embed_pending() == 3
    assert shelf.vectors == {1: 1, 2: 3, 3: 2}
    assert embedder.batches == [3, 1, 2]


async def test_without_an_embedder_nothing_is_done() -> None:
    assert await of(None, Shelf(["a"])).embed_pending() == 0


async def test_a_rejected_text_keeps_no_other_from_its_vector() -> None:
    shelf = Shelf(["a", "xyzzy"], ["xyzzy"], ["b"])
    assert await of(Moody(), shelf).embed_pending() == 3
    assert shelf.vectors == {1: 1, 3: 1}


async def test_an_embedder_that_rejects_everything_has_failed() -> None:
    shelf = Shelf(["xyzzy"], ["xyzzy"], ["b"])
    with pytest.raises(EmbeddingFailed):
        await of(Moody(), shelf).embed_pending()
    assert shelf.vectors == {}


async def test_rows_are_looked_for_beyond_those_done_until_it_starts_over() -> None:
    shelf = Shelf(["a"], ["b"])
    one = of(HashEmbedder(), shelf)
    await one.embed_pending()
    shelf.rows[3] = Pending(3, ["c"])
    await one.embed_pending()
    assert shelf.found == [0, 2, 2, 3]

    shelf.vectors.clear()
    one.start_over()
    assert await one.embed_pending() == 3
    assert shelf.vectors == {1: 1, 2: 1, 3: 1}


async def test_starting_over_while_it_embeds_is_not_lost() -> None:
    shelf = Shelf(["a"], ["b"], ["c"])

    class Removing(HashEmbedder):
        asked = 0

        async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
            self.asked += 1
            if self.asked == 2:
                shelf.vectors.clear()
                one.start_over()
            return await super().embed(texts)

    one = of(Removing(), shelf)
    await one.embed_pending()
    assert shelf.vectors == {1: 1, 2: 1, 3: 1}


async def test_a_stall_is_logged_once_and_embedding_continues_by_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlog, "PAUSES", (0.001,))
    shelf, embedder = Shelf(["a"]), Moody()
    embedder.fails = True
    one = of(embedder, shelf)
    one.wake()
    task = asyncio.create_task(one.run())
    async with asyncio.timeout(10):
        while len(embedder.batches) < 3:
            await asyncio.sleep(0.001)
        embedder.fails = False
        while not shelf.vectors:
            await asyncio.sleep(0.001)
    task.cancel()
    assert caplog.text.count("embedding of papers has stalled") == 1
