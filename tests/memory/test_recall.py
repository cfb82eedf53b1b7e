"""Recall with vectors: found by meaning, and by words alone whenever the embedder is not there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

import pytest

from app.domain.memory import Scope
from app.memory.doc import Doc
from app.memory.longterm import LongTermMemory, Saying
from app.memory.scope import audiences_seen
from app.memory.shelves import Shelves
from app.search import backlog, lexical, minilm, question
from app.search.embedder import Embedding, EmbeddingFailed, pack
from app.search.hash_embedder import HashEmbedder
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned
from tests.memory.conftest import Make, owner, said

WIDE = Scope.CONVERSATIONAL


class Broken(HashEmbedder):
    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        raise EmbeddingFailed("no such server")


class Hanging(HashEmbedder):
    asked = 0
    lets_go = False

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        self.asked += 1
        if not self.lets_go:
            await asyncio.sleep(3600)
        return await super().embed(texts)


class Meaningful(HashEmbedder):
    """Knows that a dog is a pet."""

    model = "meaningful"

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        return await super().embed([text.replace("dog", "pet") for text in texts])


async def tell(memory: LongTermMemory, *texts: str) -> None:
    await memory.remember(owner(), WIDE, [said(text) for text in texts])


async def ask(memory: LongTermMemory, question: str) -> tuple[list[str], bool]:
    found = await memory.recall(question, owner=owner("s2"), scope=WIDE)
    return [hit.memory.text for hit in found.hits], found.by_meaning


async def test_what_shares_no_word_is_found_by_its_meaning(make: Make) -> None:
    memory = make(Meaningful())
    await tell(memory, "Our dog is called Rex", "Rain again", "Trains are late")
    await memory.embed_pending()
    texts, by_meaning = await ask(memory, "pet?")
    assert texts[0] == "Our dog is called Rex"
    assert by_meaning


async def test_vectors_that_come_later_are_seen_at_once(make: Make) -> None:
    memory = make(Meaningful())
    await tell(memory, "Our dog is called Rex")
    assert (await ask(memory, "pet?"))[1] is False
    await memory.embed_pending()
    await tell(memory, "A second dog came")
    await memory.embed_pending()
    assert len((await ask(memory, "pet?"))[0]) == 2


async def test_without_the_embedder_words_answer(make: Make) -> None:
    memory = make(Broken())
    await tell(memory, "Our dog is called Rex")
    assert await ask(memory, "What is the dog called?") == (["Our dog is called Rex"], False)


async def test_a_hanging_embedder_costs_its_share_of_the_budget_once(make: Make) -> None:
    embedder = Hanging()
    memory = make(embedder)
    await tell(memory, "Our dog is called Rex")
    started = time.perf_counter()
    for _ in range(5):
        assert await ask(memory, "What is the dog called?") == (["Our dog is called Rex"], False)
    assert embedder.asked == 1
    assert time.perf_counter() - started < 2


async def test_vectors_are_filled_in_when_the_embedder_is_back(make: Make) -> None:
    embedder = Hanging()
    memory = make(embedder)
    await tell(memory, "Our dog is called Rex")
    embedder.lets_go = True
    background = asyncio.create_task(memory.run())
    async with asyncio.timeout(10):
        while not (await ask(memory, "dog"))[1]:
            await asyncio.sleep(0.01)
    background.cancel()


async def test_an_embedder_that_hung_is_given_up_and_asked_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "HANGS_SECONDS", 0.05)
    embedder = Hanging()
    memory = make(embedder)
    await tell(memory, "Our dog is called Rex")
    assert (await ask(memory, "dog"))[1] is False
    embedder.lets_go = True
    await memory.embed_pending()
    async with asyncio.timeout(10):
        while not (await ask(memory, "dog"))[1]:
            await asyncio.sleep(0.01)


class Moody(HashEmbedder):
    """Fails while it is told to, and always for what it does not like."""

    fails = False

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        if self.fails or any("xyzzy" in text for text in texts):
            raise EmbeddingFailed("not now")
        return await super().embed(texts)


async def test_an_embedder_that_raised_is_asked_again_in_the_background(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlog, "PAUSES", (0.01,))
    embedder = Moody()
    embedder.fails = True
    memory = make(embedder)
    await tell(memory, "Our dog is called Rex")
    background = asyncio.create_task(memory.run())
    async with asyncio.timeout(10):
        while "embedding of memories has stalled" not in caplog.text:
            assert await ask(memory, "dog") == (["Our dog is called Rex"], False)
        embedder.fails = False
        while not (await ask(memory, "dog"))[1]:
            await asyncio.sleep(0.01)
    background.cancel()
    assert caplog.text.count("embedding of memories has stalled") == 1


async def test_a_text_that_the_embedder_refuses_keeps_no_other_from_its_vector(make: Make, database: Database) -> None:
    memory = make(Moody())
    await tell(memory, "Rain", "The word is xyzzy", "Snow", "xyzzy again", "Hail")
    await memory.embed_pending()
    count = await database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM memory_vectors").scalar())
    assert count == 3
    assert (await ask(memory, "snow"))[1] is True
    assert (await ask(memory, "Which word?"))[0][0] == "The word is xyzzy"


async def test_an_embedder_whose_packages_are_missing_leaves_the_words(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minilm, "PACKAGES", ("no_such_package",))
    memory = make(minilm.MiniLM())
    await tell(memory, "Our dog is called Rex")
    with pytest.raises(EmbeddingFailed, match="pip install"):
        await memory.embed_pending()
    assert await ask(memory, "dog") == (["Our dog is called Rex"], False)


async def test_vectors_of_another_width_are_not_compared(make: Make) -> None:
    """As after another model was put behind the same name: words answer until it is embedded anew."""
    memory = make(HashEmbedder())
    await tell(memory, "Our dog is called Rex")
    await memory.embed_pending()

    class Wider(HashEmbedder):
        async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
            return [Embedding(pack([1.0] * 96)) for _ in texts]

    assert await ask(make(Wider()), "dog") == (["Our dog is called Rex"], False)


async def test_vectors_of_another_model_are_not_compared(make: Make) -> None:
    memory = make(HashEmbedder())
    await tell(memory, "Our dog is called Rex")
    await memory.embed_pending()
    assert (await ask(make(Meaningful()), "dog"))[1] is False


async def test_a_memory_forgotten_while_it_is_embedded_leaves_no_vector(make: Make, database: Database) -> None:
    held = asyncio.Event()

    class Slow(HashEmbedder):
        async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
            await held.wait()
            return await super().embed(texts)

    memory = make(Slow())
    await tell(memory, "Our dog is called Rex")
    embedding = asyncio.create_task(memory.embed_pending())
    await asyncio.sleep(0.05)
    await memory.delete(Owned("assistant", "key", session_id="s1"))
    held.set()
    await embedding
    count = await database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM memory_vectors").scalar())
    assert count == 0


async def test_a_large_scope_is_answered_from_candidates(make: Make) -> None:
    memory = make(Meaningful())
    memory._recall._shelves = Shelves(small=20)
    await tell(memory, *[f"Filler number{n} about trains" for n in range(60)], "Our dog is called Rex", "Good")
    await memory.embed_pending()
    found = await memory.recall("What is the dog called?", owner=owner("s2"), scope=WIDE)
    assert found.hits[0].memory.text == "Our dog is called Rex"
    assert found.hits[0].before is not None
    assert (await ask(memory, "pet?"))[0][0] == "Our dog is called Rex"
    assert (await ask(memory, "number7"))[0][0] == "Filler number7 about trains"
    stranger = await memory.recall("dog", owner=owner("s3", user_id="bob"), scope=WIDE)
    assert stranger.hits == ()


async def test_words_that_everybody_says_cost_no_more_in_a_long_scope(
    memory: LongTermMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only has common words is not looked at once there is enough that has a rarer one."""
    scored: list[int] = []
    monkeypatch.setattr(lexical.Matches, "_add", _counting(scored, lexical.Matches._add))
    await tell(memory, *[f"The crew of ship {n % 4} mends nets in the rain" for n in range(800)])
    texts, _ = await ask(memory, "Does the crew of ship 3 mend nets in the rain?")
    assert {text[:18] for text in texts} == {"The crew of ship 3"}
    assert sum(scored) == 6 * 200, "200 turns have the rarest word; five others are in all 800"


async def test_what_is_common_counts_for_those_that_have_what_is_rare(memory: LongTermMemory) -> None:
    common = [f"rain over the harbour on day {n}" for n in range(400)]
    await tell(memory, *common, *[f"a whale, number {n}" for n in range(120)], "a whale in the rain over the harbour")
    found = await memory.recall("Was there a whale in the rain over the harbour?", owner=owner("s2"), scope=WIDE)
    assert found.hits[0].memory.text == "a whale in the rain over the harbour"
    assert found.hits[0].cues["coverage"] == 1.0


def _counting(scored: list[int], add: Callable[..., None]) -> Callable[..., None]:
    def counted(self: lexical.Matches[Doc], docs: Sequence[Doc], *rest: object) -> None:
        scored.append(len(docs))
        add(self, docs, *rest)

    return counted


@pytest.mark.parametrize("embeds", [False, True], ids=["words", "vectors"])
async def test_the_same_question_asked_before_makes_the_answer_no_less_likely(make: Make, embeds: bool) -> None:
    memory = make(HashEmbedder() if embeds else None)
    question, fact = "Which instrument does my sister play?", "My sister plays the cello"
    await tell(memory, fact, "We had soup today", "The train to Bergen was late")
    await memory.embed_pending()
    [before, *_] = (await memory.recall(question, owner=owner("s2"), scope=WIDE)).hits
    for session in ("s3", "s4", "s5"):
        await memory.remember(owner(session), WIDE, [said(question), Saying("assistant", "assistant", "Let me see", 9)])
    await memory.embed_pending()
    [after, *_] = (await memory.recall(question, owner=owner("s2"), scope=WIDE)).hits
    assert (before.memory.text, after.memory.text) == (fact, fact)
    assert after.score > before.score / 2


async def test_caches_are_bounded(memory: LongTermMemory, database: Database) -> None:
    kept = Shelves(max_docs=10)
    for user in range(5):
        await memory.remember(owner(f"s{user}", f"user{user}"), WIDE, [said(f"fact {n}") for n in range(4)])
        audiences = audiences_seen(owner(f"s{user}", f"user{user}"), WIDE)
        await database.read(partial(kept.refresh, audiences=audiences))
    assert sum(len(one.shelf.docs) for one in kept._kept.values()) <= 10


async def test_what_has_no_vector_yet_is_judged_by_its_words(make: Make) -> None:
    memory = make(HashEmbedder())
    await tell(memory, "Rain again", "Trains are late", "The bakery opens at seven")
    await memory.embed_pending()
    await tell(memory, "My cat is called Pixel")
    found = await memory.recall("What is my cat called?", owner=owner("s2"), scope=WIDE, threshold=0.01)
    assert found.by_meaning
    assert found.hits[0].memory.text == "My cat is called Pixel"
    before = found.hits[0].score
    await memory.embed_pending()
    found = await memory.recall("What is my cat called?", owner=owner("s2"), scope=WIDE, threshold=0.01)
    assert found.hits[0].memory.text == "My cat is called Pixel"
    assert before > 0.1


async def test_the_only_memory_there_is_scores_like_the_best_of_many(make: Make) -> None:
    memory = make(HashEmbedder())
    await tell(memory, "My cat is called Pixel")
    await memory.embed_pending()
    found = await memory.recall("What is my cat called?", owner=owner("s2"), scope=WIDE)
    assert found.hits[0].score > 0.1


async def test_a_row_that_another_server_committed_late_is_recalled(make: Make, database: Database) -> None:
    """Numbers are given before rows are committed: row 1 may be seen after row 2."""
    database.is_shared = True
    memory = make(HashEmbedder())
    await tell(memory, "Trains are late")
    await memory.delete(Owned("assistant", "key"))
    await tell(memory, "Rain again")
    await memory.embed_pending()
    assert (await ask(memory, "Rain?"))[0] == ["Rain again"]
    await tell(memory, "My cat is called Pixel")
    unit = UnitOfWork("")
    unit.calls.append(lambda connection: connection.exec_driver_sql("UPDATE memories SET row = 1 WHERE row = 3"))
    await database.submit(unit)
    await memory.embed_pending()
    texts, by_meaning = await ask(memory, "What is the cat called?")
    assert (texts[0], by_meaning) == ("My cat is called Pixel", True)
    assert (await memory.recall("cat", owner=owner("s2"), scope=WIDE)).hits[0].cues["meaning"] > 0.3


async def test_other_servers_drop_their_copies_before_a_deletion_is_answered(make: Make) -> None:
    here, there = make(), make()
    told: list[str] = []

    class Others:
        def drop(self, audiences: Collection[str]) -> None:
            there.drop_copies(audiences)

        def embed_again(self) -> None:
            there.start_over()

        async def told(self) -> None:
            told.append("told")

    here.others = Others()
    await tell(here, "My cat is called Pixel")
    await ask(there, "cat")
    assert there._recall._shelves._kept
    await here.delete(Owned("assistant", "key"))
    assert told == ["told"]
    assert all(not kept.shelf.docs for kept in there._recall._shelves._kept.values())
