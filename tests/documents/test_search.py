"""Search over chunks: by words, by meaning, whatever is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from app.documents.embedding import chunk_backlog
from app.search.backlog import Backlog
from app.search.embedder import Embedding, EmbeddingFailed, pack
from app.search.hash_embedder import HashEmbedder
from app.storage.engine.database import Database
from tests.documents.conftest import LONG_AGO, Shelf


class Animals:
    """Knows that parrots and birds are one thing. `fails` and `hangs` as embedders do."""

    model = "animals"
    patience = 1.0
    fails = False
    hangs = False

    def __init__(self) -> None:
        self.embedded: list[str] = []

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise EmbeddingFailed("out of order")
        if not is_query:
            self.embedded += texts
        return [Embedding(pack([1.0, 0.0] if "parrot" in t or "bird" in t else [0.1, 1.0])) for t in texts]

    async def close(self) -> None:
        pass


def with_animals(database: Database, folder: Path) -> tuple[Shelf, Animals, Backlog]:
    animals = Animals()
    shelf = Shelf(database, folder, embedder=animals)
    return shelf, animals, chunk_backlog(database, animals, ["shelf"])


async def test_a_heading_counts_and_so_does_how_much_of_the_question_is_there(shelf: Shelf) -> None:
    shelf.write("a.md", "# Backup\nCopy the file.\n# Other\nThe database and the file and the disk.\n")
    shelf.write("b.md", "A backup of the database is made with one command.")
    await shelf.look()

    assert await shelf.found("backup of the database") == ["b.md", "a.md"]
    assert (await shelf.find("backup file"))[0].heading == "Backup"
    scores = [hit.score for hit in await shelf.find("backup of the database")]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


async def test_a_hit_says_why_it_was_found(shelf: Shelf) -> None:
    shelf.write("a.md", "# Birds\nThe parrot sleeps. " + "It dreams. " * 40 + "The falcon hunts at dawn.")
    await shelf.look()

    [hit] = await shelf.find("falcons hunting birds")

    assert hit.cues["heading"] > 0
    assert hit.cues["coverage"] == 1
    assert "falcon hunts" in hit.excerpt
    assert len(hit.excerpt) < 260
    assert hit.modified_ms == LONG_AGO * 1000


async def test_another_store_is_not_searched(shelf: Shelf) -> None:
    shelf.write("a.md", "parrot")
    await shelf.look()

    assert (await shelf.finder.search("parrot", ["other"], limit=5)).hits == ()


async def test_no_question_breaks_it(shelf: Shelf) -> None:
    shelf.write("a.md", "parrot")
    shelf.write("b.md", "x" * 5000)
    await shelf.look()

    for question in ("", "the of and", "?!", "\0", '" OR *', "'; --", "日本 語", "a " * 1000):
        assert isinstance(await shelf.find(question), list)
    assert await shelf.found("x" * 3000) == ["b.md"]


async def test_meaning_finds_what_words_do_not(database: Database, folder: Path) -> None:
    shelf, _, embedding = with_animals(database, folder)
    shelf.write("a.md", "The parrot sleeps.")
    shelf.write("b.md", "The whale swims.")
    await shelf.look()
    assert await shelf.found("bird") == []

    assert await embedding.embed_pending() == 2

    found = await shelf.finder.search("bird", ["shelf"], limit=1)
    assert found.by_meaning
    assert [Path(hit.path).name for hit in found.hits] == ["a.md"]


async def test_what_did_not_change_is_not_embedded_again_also_after_a_restart(database: Database, folder: Path) -> None:
    shelf, animals, embedding = with_animals(database, folder)
    shelf.write("a.md", "# One\nparrot\n# Two\nwhale\n")
    await shelf.look()
    await embedding.embed_pending()
    assert sorted(animals.embedded) == ["One\nparrot", "Two\nwhale"]

    shelf, animals, embedding = with_animals(database, folder)
    shelf.write("a.md", "# One\nparrot\n# Two\nshark\n", at=LONG_AGO + 1)
    await shelf.look()
    await embedding.embed_pending()

    assert animals.embedded == ["Two\nshark"]
    assert [hit.text for hit in await shelf.find("bird", limit=1)] == ["parrot"]
    assert "whale" not in [hit.text for hit in await shelf.find("whale")]


async def test_a_long_chunk_has_several_vectors_and_the_closest_counts(database: Database, folder: Path) -> None:
    shelf, animals, embedding = with_animals(database, folder)
    shelf.write("a.md", "Nothing of it. " * 50 + "The parrot sleeps.")
    shelf.write("b.md", "Nothing either.")
    await shelf.look()
    await embedding.embed_pending()

    assert len(animals.embedded) == 3
    assert await shelf.found("bird") == ["a.md", "b.md"]


async def test_an_embedder_that_fails_or_hangs_leaves_the_words(database: Database, folder: Path) -> None:
    shelf, animals, embedding = with_animals(database, folder)
    shelf.finder._embedding._wait_seconds = 0.01
    shelf.write("a.md", "The parrot sleeps.")
    await shelf.look()
    await embedding.embed_pending()

    for trouble in ("fails", "hangs", "hangs"):
        setattr(animals, trouble, True)
        found = await shelf.finder.search("parrot", ["shelf"], limit=5)
        assert [Path(hit.path).name for hit in found.hits] == ["a.md"]
        assert not found.by_meaning
    await shelf.finder.close()


async def test_another_model_embeds_again(database: Database, folder: Path) -> None:
    shelf, _, embedding = with_animals(database, folder)
    shelf.write("a.md", "The parrot sleeps.")
    await shelf.look()
    await embedding.embed_pending()

    assert await chunk_backlog(database, HashEmbedder(), ["shelf"]).embed_pending() == 1
    hashed = Shelf(database, folder, embedder=HashEmbedder())
    assert await hashed.found("parrot") == ["a.md"]
