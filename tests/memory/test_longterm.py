"""Remember, recall, edit, forget: on both databases, through the store."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Table, func, select

from app.domain.memory import Owner, Scope
from app.memory import longterm
from app.memory.longterm import LongTermMemory
from app.memory.scope import audience_of, session_audience
from app.search.hash_embedder import HashEmbedder
from app.search.words import terms
from app.storage import full_text, memories, tables
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned
from tests.memory.conftest import Make, owner, said
from tests.memory.test_scope import may_see


async def texts(memory: LongTermMemory, question: str, asker: Owner, scope: Scope = Scope.CONVERSATIONAL) -> list[str]:
    found = await memory.recall(question, owner=asker, scope=scope, limit=10)
    return [hit.memory.text for hit in found.hits]


def count_rows(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


async def delete_session(
    database: Database, memory: LongTermMemory, session_id: str, audience: str | None = None
) -> None:
    unit = UnitOfWork(session_id)
    removed = memories.delete_of_session(unit, audience=audience)
    await database.submit(unit)
    memory.drop(removed)


async def test_another_session_of_the_same_user_recalls_what_was_said(memory: LongTermMemory) -> None:
    await memory.remember(owner("s1"), Scope.CONVERSATIONAL, [said("My cat is called Pixel"), said("It rains")])
    assert await texts(memory, "What is my cat called?", owner("s2")) == ["My cat is called Pixel", "It rains"]
    assert await texts(memory, "What is my cat called?", owner("s3", user_id="bob")) == []
    assert await texts(memory, "What is my cat called?", owner("s3", principal="other")) == []
    assert await texts(memory, "What is my cat called?", owner("s3", agent="other")) == []
    assert await texts(memory, "What is my cat called?", owner("s2"), Scope.SESSION) == []


async def test_what_was_just_said_is_found_at_once(memory: LongTermMemory) -> None:
    for number in range(3):
        await memory.remember(owner(f"s{number}"), Scope.CONVERSATIONAL, [said(f"Parrot number{number}")])
        assert len(await texts(memory, "parrot", owner("asking"))) == number + 1


async def test_all_is_seen_by_every_user_of_the_agent(memory: LongTermMemory) -> None:
    await memory.remember(owner("s1"), Scope.ALL, [said("The office opens at nine")])
    assert await texts(memory, "When does the office open?", owner("s2", "bob", "other"), Scope.ALL)
    assert not await texts(memory, "When does the office open?", owner("s2", "bob", "other"))


async def test_summaries_only_keeps_no_word_of_the_messages(memory: LongTermMemory, database: Database) -> None:
    await memory.remember(owner(), Scope.SUMMARIES_ONLY, [said("My secret is xyzzy")])
    stored = await database.read(lambda c: c.execute(select(func.count()).select_from(tables.memories)).scalar())
    assert stored == 0


async def test_remembering_the_same_message_twice_keeps_one(memory: LongTermMemory) -> None:
    for _ in range(2):
        await memory.remember(owner(), Scope.CONVERSATIONAL, [said("Once is enough", message_id="m1")])
    assert await texts(memory, "enough", owner()) == ["Once is enough"]


async def test_a_word_of_many_kilobytes_is_remembered_and_found(memory: LongTermMemory, database: Database) -> None:
    word = "QWxhZGRpbjpvcGVuIHNlc2FtZQ" * 300
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said(f"My key is {word}")])
    audiences, term = [audience_of(owner(), Scope.CONVERSATIONAL)], terms(word)[0]
    assert await database.read(lambda connection: full_text.INDEX.count(connection, audiences, term)) == 1
    assert await texts(memory, f"Whose key is {word}?", owner()) == [f"My key is {word}"]


async def test_a_hit_brings_its_neighbours_and_its_cues(memory: LongTermMemory) -> None:
    sayings = [said("Which tea?"), said("Jasmine tea, please"), said("Fine")]
    await memory.remember(owner(), Scope.CONVERSATIONAL, sayings)
    found = await memory.recall("jasmine", owner=owner(), scope=Scope.CONVERSATIONAL, limit=1)
    (hit,) = found.hits
    assert hit.before is not None
    assert hit.after is not None
    assert (hit.before.text, hit.memory.text, hit.after.text) == ("Which tea?", "Jasmine tea, please", "Fine")
    assert hit.cues["words"] == 1.0
    assert 0 < hit.score < 1
    assert hit.memory.owner == owner()
    assert not found.by_meaning


async def test_a_turn_and_those_before_it_answer_together(memory: LongTermMemory) -> None:
    """Of two that say the same, the one whose conversation is about the question's other half comes first."""
    for number, topic in enumerate(("curtains", "kitchen walls", "fence")):
        sayings = [said(f"About the {topic}"), said("Any colour will do"), said("Then take the yellow paint")]
        await memory.remember(owner(f"s{number}"), Scope.CONVERSATIONAL, sayings)
    found = await memory.recall("yellow kitchen", owner=owner("s9"), scope=Scope.CONVERSATIONAL)
    yellow = [hit.memory.owner.session_id for hit in found.hits if "yellow" in hit.memory.text]
    assert yellow[0] == "s1"
    assert found.hits[0].cues["context"] == 1.0


async def test_a_bare_question_stands_behind_what_was_told(memory: LongTermMemory) -> None:
    sayings = [said("What is a good name for a cat?"), said("Luna", role="assistant"), said("My cat is called Pixel")]
    await memory.remember(owner(), Scope.CONVERSATIONAL, sayings)
    assert (await texts(memory, "What is the name of my cat?", owner("s2")))[0] == "My cat is called Pixel"


async def test_a_threshold_leaves_out_what_scores_less(memory: LongTermMemory) -> None:
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said("Jasmine tea"), said("Rain")])
    found = await memory.recall("jasmine", owner=owner(), scope=Scope.CONVERSATIONAL, threshold=1.0)
    assert found.hits == ()


async def test_nothing_to_look_for_finds_nothing(memory: LongTermMemory) -> None:
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said("Jasmine tea")])
    for question in ("", "   ", "?!", "the of and", "\0", '" OR *', "'; --"):
        assert isinstance(await texts(memory, question, owner()), list)


async def test_an_edited_memory_is_found_by_its_new_words_only(memory: LongTermMemory) -> None:
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said("My dog is Rex")])
    (stored,) = await memory.list(Owned("assistant", "key"))
    await memory.edit(stored, "My dog is Fido")
    assert await texts(memory, "dog", owner()) == ["My dog is Fido"]
    assert await texts(memory, "rex", owner()) == []
    edited = await memory.find(Owned("assistant", "key", memory_ids=(stored.memory_id,)))
    assert edited is not None
    assert (edited.version, edited.place) == (2, stored.place)


async def test_forgetting_leaves_nothing_anywhere(make: Make, database: Database) -> None:
    memory = make(HashEmbedder())
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said("xyzzy is my word"), said("plugh")])
    await memory.remember(owner("s2", user_id="bob"), Scope.CONVERSATIONAL, [said("xyzzy too")])
    assert await memory.embed_pending() == 3
    assert len(await texts(memory, "xyzzy", owner("s3"))) == 2
    removed = await memory.delete(Owned("assistant", "key", user_id="ann"))
    assert (removed.memories, removed.vectors) == (2, 2)
    assert await texts(memory, "xyzzy", owner("s3")) == []
    assert await texts(memory, "xyzzy", owner("s4", user_id="bob")) == ["xyzzy too"]
    for table in (tables.memories, tables.memory_vectors):
        assert await database.read(partial(count_rows, table=table)) == 1


async def test_deleting_a_sessions_own_memories_leaves_wider_ones(memory: LongTermMemory, database: Database) -> None:
    await memory.remember(owner(), Scope.SESSION, [said("narrow fact")])
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said("wide fact")])
    await delete_session(database, memory, "s1", audience=session_audience("s1"))
    assert await texts(memory, "fact", owner()) == ["wide fact"]
    await delete_session(database, memory, "s1")
    assert await texts(memory, "fact", owner()) == []


async def test_old_memories_go_and_pinned_ones_stay(memory: LongTermMemory) -> None:
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said(f"fact number{day}", day=day) for day in range(1, 6)])
    listed = {one.text: one for one in await memory.list(Owned("assistant", "key"))}
    await memory.pin(listed["fact number1"])
    await memory.expire("assistant", before_ms=3 * 86_400_000)
    assert sorted(await texts(memory, "fact", owner())) == [f"fact number{day}" for day in (1, 3, 4, 5)]
    await memory.trim(owner(), Scope.CONVERSATIONAL, keep=1)
    assert sorted(await texts(memory, "fact", owner())) == ["fact number1", "fact number5"]


async def test_lists_come_newest_first_in_pages(memory: LongTermMemory) -> None:
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said(f"fact {n}") for n in range(5)])
    first = await memory.list(Owned("assistant", "key"), limit=3)
    rest = await memory.list(Owned("assistant", "key"), before=first[-1].row, limit=3)
    assert [one.text for one in [*first, *rest]] == [f"fact {n}" for n in (4, 3, 2, 1, 0)]
    assert await memory.list(Owned("assistant", "somebody else")) == []


_who = st.builds(
    Owner,
    agent=st.sampled_from(["one", "two"]),
    principal=st.sampled_from(["p", "q"]),
    user_id=st.sampled_from(["ann", "bob", "anonymous"]),
    session_id=st.sampled_from(["s1", "s2", "s3"]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_who, st.sampled_from(Scope)), max_size=6), _who)
async def test_no_recall_crosses_a_scope(
    memory: LongTermMemory, database: Database, written: list[tuple[Owner, Scope]], reader: Owner
) -> None:
    for session in ("s1", "s2", "s3"):
        await delete_session(database, memory, session)
    for number, (writer, scope) in enumerate(written):
        await memory.remember(writer, scope, [replace(said(f"fact number{number}"), kind="note")])
    for reading in Scope:
        expected = {
            f"fact number{number}"
            for number, (writer, scope) in enumerate(written)
            if may_see(writer, scope, reader, reading)
        }
        assert set(await texts(memory, "fact", reader, reading)) == expected


async def test_the_terms_of_a_long_text_are_found_in_another_thread(
    memory: LongTermMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message as long as can be would hold up every other client."""
    seen: dict[int, bool] = {}

    def watched(text: str) -> list[str]:
        seen[len(text)] = threading.current_thread() is threading.main_thread()
        return terms(text)

    monkeypatch.setattr(longterm, "terms", watched)
    short, long = "a parrot!", "an eagle " * longterm.LONG
    await memory.remember(owner(), Scope.CONVERSATIONAL, [said(short), said(long)])
    [found] = [one for one in await memory.list(Owned("assistant", "key")) if one.text == short]
    await memory.edit(found, "a falcon")

    assert seen == {len(short): True, len(long): False, len("a falcon"): False}
    assert (await texts(memory, "eagle", owner()))[0] == long
    assert (await texts(memory, "falcon", owner()))[0] == "a falcon"
