"""Memories in the store: what is written together, found by words, and gone without a trace; on every database."""

from __future__ import annotations

import struct
from functools import partial

import pytest
from sqlalchemy import func, select, text

from app.domain.memory import Memory, Owner
from app.storage import full_text, memories, memory_index, tables
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned, Removed

ANN = "uann"
BOB = "ubob"


def a_memory(memory_id: str, content: str, *, audience: str = ANN, session_id: str = "s1") -> Memory:
    owner = Owner("assistant", "key", audience, session_id)
    return Memory(memory_id, owner, audience, "message", "user", "user", content, 1000)


async def store(database: Database, *stored: Memory) -> None:
    for memory in stored:
        unit = UnitOfWork(memory.owner.session_id)
        memories.insert(unit, [(memory, memory.text.split())])
        await database.submit(unit)


async def embed(database: Database, row: int, *numbers: float) -> None:
    unit = UnitOfWork("")
    vector = struct.pack(f"<{len(numbers)}e", *numbers)
    memories.add_vector(unit, row=row, model="m", vector=vector, pieces=None)
    await database.submit(unit)


async def search(database: Database, *terms: str, audiences: tuple[str, ...] = (ANN,)) -> list[int]:
    rows, _ = await database.read(
        lambda c: memory_index.candidates(c, audiences, terms, total=3, limit=10, frequent={})
    )
    return rows


async def forget(database: Database, owned: Owned) -> Removed:
    unit = UnitOfWork("")
    removed = memories.delete(unit, owned)
    await database.submit(unit)
    return removed


async def test_full_text_finds_the_rarer_word_first_and_only_in_its_audience(database: Database) -> None:
    await store(
        database,
        a_memory("m1", "blue bike"),
        a_memory("m2", "blue parrot"),
        a_memory("m3", "blue boat"),
        a_memory("m4", "blue parrot", audience=BOB),
    )
    assert (await search(database, "parrot", "blue"))[0] == 2
    assert sorted(await search(database, "parrot", "blue")) == [1, 2, 3]
    assert await search(database, "parrot", audiences=(BOB,)) == [4]
    assert await database.read(lambda c: full_text.INDEX.count(c, (ANN, BOB), "parrot")) == 2


async def test_words_of_every_script_and_of_the_query_language_are_only_words(database: Database) -> None:
    await store(database, a_memory("m1", "near or 奥斯 größe not"))
    for term in ("奥斯", "größe", "near", "or", "not"):
        assert await search(database, term) == [1], term


async def test_places_of_a_session_have_no_gaps(database: Database) -> None:
    await store(database, *[a_memory(f"m{n}", "x", session_id=f"s{n % 2}") for n in range(6)])
    found = await database.read(lambda c: memories.list_page(c, Owned("assistant", "key"), before=None, limit=9))
    assert [(one.owner.session_id, one.place) for one in reversed(found)] == [(f"s{n % 2}", n // 2) for n in range(6)]


async def test_what_is_forgotten_is_in_no_index_either(database: Database) -> None:
    await store(database, a_memory("m1", "xyzzy"), a_memory("m2", "plugh"))
    await embed(database, 1, 1.0, 0.0)
    removed = await forget(database, Owned("assistant", "key", memory_ids=("m1",)))
    assert (removed.memories, removed.vectors, removed.audiences) == (1, 1, {ANN})
    assert await search(database, "xyzzy") == []
    assert await database.read(lambda c: full_text.INDEX.count(c, (ANN,), "xyzzy")) == 0
    count = select(func.count()).select_from(tables.memory_vectors)
    assert await database.read(lambda c: c.execute(count).scalar()) == 0


async def test_an_edit_keeps_the_old_text_until_it_is_forgotten(database: Database) -> None:
    memory = a_memory("m1", "xyzzy")
    await store(database, memory)
    unit = UnitOfWork("s1")
    memories.edit(unit, memory, text="plugh", terms=["plugh"], now=2000)
    await database.submit(unit)
    assert await database.read(lambda c: memories.versions(c, "m1")) == [(1, "xyzzy", 2000)]
    assert await search(database, "plugh") == [2]
    assert (await forget(database, Owned("assistant", "key"))).versions == 1
    assert await database.read(lambda c: memories.versions(c, "m1")) == []


async def test_nobody_forgets_what_is_anothers(database: Database) -> None:
    await store(database, a_memory("m1", "xyzzy"))
    assert (await forget(database, Owned("assistant", "other", memory_ids=("m1",)))).memories == 0
    assert await search(database, "xyzzy") == [1]


async def test_vectors_are_read_of_their_audience_and_model_only(database: Database) -> None:
    await store(database, a_memory("m1", "a"), a_memory("m2", "b"), a_memory("m3", "c", audience=BOB))
    for row in (1, 2, 3):
        await embed(database, row, 1.0, float(row))

    async def rows(since: dict[str, int], model: str = "m") -> list[tuple[str, int, tuple[float, ...]]]:
        found = await database.read(lambda c: list(memory_index.vectors_beyond(c, since, model=model)))
        return sorted([(audience, row, struct.unpack("<2e", vector)) for audience, row, vector in found])

    assert await rows({ANN: 0}) == [(ANN, 1, (1.0, 1.0)), (ANN, 2, (1.0, 2.0))]
    assert await rows({ANN: 1, BOB: 0}) == [(ANN, 2, (1.0, 2.0)), (BOB, 3, (1.0, 3.0))]
    assert await rows({ANN: 2}) == await rows({ANN: 0}, "another") == await rows({}) == []


async def test_neighbours_are_found_by_session_and_place(database: Database) -> None:
    await store(database, *[a_memory(f"m{n}", f"text {n}") for n in range(3)], a_memory("b", "bob's", audience=BOB))
    wanted = [("s1", 1), ("s1", 3), ("s1", 9), ('"; s', 0)]
    found = await database.read(lambda c: memory_index.around(c, (ANN,), wanted))
    assert [one.text for one in found] == ["text 1"]
    assert await database.read(lambda c: memory_index.neighbours(c, (ANN, BOB), [])) == []
    both = await database.read(lambda c: memory_index.neighbours(c, (ANN, BOB), wanted))
    assert {one.text for one in both} == {"text 1", "bob's"}


async def test_audiences_are_counted_and_read_beyond_a_row(database: Database) -> None:
    await store(database, *[a_memory(f"m{n}", f"text {n}") for n in range(3)], a_memory("b", "bob's", audience=BOB))
    for since, counts, texts in (
        ({ANN: 0, BOB: 0}, {ANN: (3, 3), BOB: (1, 4)}, {ANN: ["text 0", "text 1", "text 2"], BOB: ["bob's"]}),
        ({ANN: 1, BOB: 4}, {ANN: (2, 3), BOB: (0, 0)}, {ANN: ["text 1", "text 2"], BOB: []}),
        ({"nobody": 0}, {"nobody": (0, 0)}, {"nobody": []}),
        ({}, {}, {}),
    ):
        assert await database.read(partial(memory_index.count, since=since)) == counts
        found = await database.read(partial(memory_index.after, since=since, limit=10))
        assert {audience: [one.text for one in rows] for audience, rows in found.items()} == texts


async def test_there_may_be_more_audiences_than_one_statement_takes(database: Database) -> None:
    names = [f"uaudience{n}" for n in range(70)]
    await store(database, *[a_memory(name, name, audience=name, session_id=name) for name in names])
    since = dict.fromkeys(names, 0)
    found = await database.read(lambda c: memory_index.after(c, since, limit=100))
    assert [rows[0].text for rows in found.values()] == names
    assert all(size == 1 for size, _ in (await database.read(lambda c: memory_index.count(c, since))).values())
    assert sum(map(len, (await database.read(lambda c: memory_index.after(c, since, limit=40))).values())) > 40


async def test_of_common_words_the_number_is_kept_and_rare_ones_nominate(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_index, "MOST_MATCHES", 2)
    contents = ["green tea", "green apple", "green door", "apple pie", "red door"]
    await store(database, *[a_memory(f"m{n}", content) for n, content in enumerate(contents)])
    frequent: dict[str, int] = {}

    async def ask(*terms: str) -> tuple[list[int], dict[str, int]]:
        return await database.read(
            lambda c: memory_index.candidates(c, (ANN,), terms, total=5, limit=2, frequent=frequent)
        )

    assert await ask("green", "tea") == ([1], {"green": 3, "tea": 1})
    assert frequent == {"green": 3}
    assert (await ask("apple", "pie"))[0] == [4]
    assert len((await ask("green"))[0]) == 2


async def test_postgres_knows_its_common_terms_without_counting(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.open()
    await store(database, *[a_memory(f"m{n}", f"tea cup{n % 4}") for n in range(40)])
    await database.read(lambda c: c.execute(text("ANALYZE memories")))
    shares = await database.read(full_text.common)
    assert (shares["tea"], shares["cup1"]) == (1.0, 0.25)
    assert await database.read(lambda c: memory_index.common(c, 3000)) == {"tea": 3000}
    await database.close()


async def test_a_vector_without_its_memory_is_not_stored(database: Database) -> None:
    await embed(database, 77, 1.0, 0.0)
    assert await database.read(lambda c: c.execute(text("SELECT count(*) FROM memory_vectors")).scalar()) == 0
