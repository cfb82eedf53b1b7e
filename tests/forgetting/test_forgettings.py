"""Forgetting removes a text wherever it was stored, summarized, recalled or shown; the receipt says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Row, Table, select

from app.domain.errors import Conflict, Unavailable
from app.domain.forgetting import FORGOTTEN, ForgetReceipt
from app.domain.ids import format_id
from app.domain.memory import Owner, Scope
from app.domain.principal import Principal
from app.domain.session import SessionStatus
from app.domain.summary import Summary
from app.domain.turn import TurnState, Usage
from app.events.log import SessionLog
from app.memory.longterm import Saying
from app.memory.memories import PAGE, Line
from app.search import stems
from app.search.hash_embedder import HashEmbedder
from app.sessions.draft import Draft
from app.storage import summaries, tables
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned
from app.turns.ask import Ask
from app.turns.keys import make_key
from tests.fixtures.clock import Ids
from tests.fixtures.house import ALICE, House, frames_of, until
from tests.fixtures.rows import count_rows

Make = Callable[..., Awaitable[House]]
ANN, BOB = "ann-the-first-user", "bob-the-other-user"
SECRET = "xyzzyplugh"
AGENT = {"memory": {"working": {"strategy": "buffer_window"}, "longterm": {"storage_scope": "conversational"}}}


@pytest.fixture(params=["file", "postgres"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    opened = House(tmp_path / "hector.db" if url is None else None, url=url, agent=AGENT, embedder=HashEmbedder())
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[House]:
    opened = House(tmp_path / "hector.db", agent=AGENT, embedder=HashEmbedder())
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """A house on a file whose agent's long-term memory is set up otherwise."""
    made: list[House] = []

    async def make(**longterm: Any) -> House:
        made.append(House(tmp_path / "hector.db", agent={"memory": {"longterm": longterm}}))
        await made[-1].open()
        return made[-1]

    yield make
    for house in made:
        await house.close()


async def forget(house: House, **target: str) -> ForgetReceipt:
    return await house.forgettings.forget("assistant", "alice", **target)


async def remembered(house: House) -> list[str]:
    return [memory.text for memory in reversed(await house.longterm.list(Owned("assistant", "alice"), limit=200))]


async def in_rows(house: House, word: str) -> dict[str, int]:
    """In how many rows of each table a word stands, wherever in them."""
    found = {}
    for table in tables.metadata.sorted_tables:
        rows = await house.database.read(partial(rows_of, table=table))
        found[table.name] = sum([word in str(tuple(row)) for row in rows])
    return {name: number for name, number in found.items() if number}


def rows_of(connection: Connection, table: Table) -> Sequence[Row[Any]]:
    return connection.execute(select(table)).all()


def in_files(house: House, word: str) -> list[str]:
    """Files of the data directory with a word, as grep -a finds it."""
    assert house.database.path is not None
    files = house.database.path.parent.iterdir()
    return sorted([path.name for path in files if path.is_file() and word.encode() in path.read_bytes()])


def told(house: House) -> str:
    """All that the model was sent with the last request."""
    return str(house.llm.streams[-1].messages())


async def talk_of_ann(house: House) -> SessionLog:
    """A session with all that one can have: title, metadata, a regenerated answer, a summary, memories, vectors."""
    owner = Principal("alice", "key", ANN)
    draft = Draft(title=f"About {SECRET}", metadata={"word": SECRET})
    log, _ = await house.sessions.create(owner, "assistant", session_id="session-of-ann", draft=draft)
    await house.say(log, f"The word is {SECRET}", f"I see, {SECRET}")
    turn = await house.admission.start(
        log, house.agent, Ask("And now?", f"Mind {SECRET}"), key=make_key("a-key", "And now?"), grace_seconds=None
    )
    stream = await house.llm.answering(2)
    stream.think(f"Hm, {SECRET}")
    stream.say("Nothing")
    stream.finish(Usage(3, 1, "counted"))
    await turn.done
    unit = UnitOfWork("session-of-ann")
    summaries.add(unit, Summary(3, f"They spoke of {SECRET}", 5, "hand", 1000))
    await house.database.submit(unit)
    await house.turn_memory.settled()
    await house.longterm.embed_pending()
    return log


async def test_of_a_forgotten_user_nothing_is_left_but_what_it_cost(house: House) -> None:
    await talk_of_ann(house)
    bobs = await house.session("session-of-bob", user=BOB)
    await house.say(bobs, "I am Bob", "Hello Bob")
    receipt = await forget(house, user_id=ANN)
    assert (receipt.rows_found, receipt.found_in, receipt.problem) == (0, {}, None)
    for word in (SECRET, ANN, "session-of-ann", "a-key"):
        assert await in_rows(house, word) == {}
    expected = {"sessions": 1, "turns": 2, "messages": 4, "summaries": 1, "idempotency_keys": 1, "memories": 4}
    assert {name: receipt.removed[name] for name in expected} == expected
    assert (receipt.removed["usage_rows"], receipt.removed["vectors"]) == (1, 4)
    assert receipt.removed["events"] > 4
    usage = await house.database.read(lambda c: c.execute(select(tables.usage)).all())
    assert sorted([(row.user_id, row.turns) for row in usage]) == [(FORGOTTEN, 2), (BOB, 1)]
    assert await remembered(house) == ["I am Bob", "Hello Bob"]
    assert [text for _, _, text in await house.texts(bobs)] == ["I am Bob", "Hello Bob"]


async def test_no_word_of_a_forgotten_user_is_remembered(on_file: House) -> None:
    await talk_of_ann(on_file)
    assert stems._stem.cache_info().currsize  # type: ignore[attr-defined]

    await forget(on_file, user_id="ann")

    assert not stems._stem.cache_info().currsize  # type: ignore[attr-defined]


async def test_no_file_has_a_byte_of_a_forgotten_user(on_file: House) -> None:
    await talk_of_ann(on_file)
    await on_file.say(await on_file.session("session-of-bob", user=BOB), "I am Bob", "Hello Bob")
    assert in_files(on_file, SECRET)
    await forget(on_file, user_id=ANN)
    for word in (SECRET, ANN, "session-of-ann"):
        assert in_files(on_file, word) == []
    assert in_files(on_file, "I am Bob")


async def test_a_user_whose_name_is_in_the_names_of_columns_is_not_said_to_be_left(on_file: House) -> None:
    await on_file.say(await on_file.session("session-of-ada", user="ada"), "Hi", "Hello")
    receipt = await forget(on_file, user_id="ada")
    assert receipt.removed["sessions"] == 1
    assert receipt.found_in == {}, "`ada` is a part of `metadata`"


async def test_a_running_turn_is_stopped_first_and_leaves_nothing_behind_either(house: House) -> None:
    log = await house.session("session-of-ann", user=ANN)
    turn = await house.start(log, SECRET)
    queued = await house.start(log, SECRET)
    stream = await house.llm.answering(1)
    stream.say(SECRET)
    await until(lambda: log.visible_text() == SECRET)
    with house.read(log) as reading:
        receipt = await forget(house, user_id=ANN)
        kinds = [kind for _, kind, _ in await frames_of(reading)]
    assert kinds[-1] == "session_terminated"
    assert stream.is_stopped
    assert (await turn.done).state is (await queued.done).state is TurnState.CANCELLED
    assert receipt.rows_found == 0
    assert await in_rows(house, SECRET) == {}
    assert await in_rows(house, ANN) == {}
    assert len(house.llm.streams) == 1


async def test_a_session_in_memory_of_a_forgotten_user_ends_with_the_others(on_file: House) -> None:
    log = await on_file.session(user=ANN, ephemeral=True)
    other = await on_file.session(user=BOB, ephemeral=True)
    await on_file.say(log, SECRET)
    await forget(on_file, user_id=ANN)
    assert log.over is SessionStatus.TERMINATED
    assert other.over is None
    assert await count_rows(on_file.memory, log.session.session_id) == {}


async def test_what_belongs_to_another_key_or_agent_is_not_touched(on_file: House) -> None:
    for number, owner in enumerate((Owner("assistant", "bob", ANN, "s1"), Owner("coder", "alice", ANN, "s2"))):
        await on_file.longterm.remember(owner, Scope.CONVERSATIONAL, [Saying("user", ANN, f"{SECRET} {number}", 1000)])
    for target in ({"user_id": ANN}, {"phrase": SECRET}, {"session_id": "s1"}):
        receipt = await forget(on_file, **target)
        assert sum(receipt.removed.values()) == 0
        assert receipt.found_afterwards == 0
    assert (await in_rows(on_file, SECRET))["memories"] == 2


async def test_forgetting_again_is_forgetting_nothing(on_file: House) -> None:
    await talk_of_ann(on_file)
    await forget(on_file, user_id=ANN)
    again = await forget(on_file, user_id=ANN)
    assert (sum(again.removed.values()), again.found_afterwards, again.problem) == (0, 0, None)
    assert in_files(on_file, ANN) == []


# -- a session ----------------------------------------------------------------------------------------------------


async def test_of_a_forgotten_session_copies_in_its_forks_go_too(house: House) -> None:
    log = await talk_of_ann(house)
    fork = await house.copies.fork(ALICE, log, at=None, session_id="the-fork-of-it")
    grandchild = await house.copies.fork(ALICE, fork, at=None, session_id="a-fork-of-the-fork")
    await house.say(fork, "Something else", "Fine")
    receipt = await forget(house, session_id="session-of-ann")
    assert receipt.found_afterwards == 0
    assert await count_rows(house.database, "session-of-ann") == {}
    assert await in_rows(house, "session-of-ann") == {}
    assert await in_rows(house, SECRET) == {}
    assert [text for _, _, text in await house.texts(fork)] == [FORGOTTEN] * 4 + ["Something else", "Fine"]
    assert [text for _, _, text in await house.texts(grandchild)] == [FORGOTTEN] * 4
    assert await remembered(house) == ["Something else", "Fine"]


async def test_titles_and_metadata_of_a_forgotten_session_leave_its_forks(house: House) -> None:
    log = await talk_of_ann(house)
    await house.sessions.describe(log, title="Her secret", metadata={"place": "Oslo", "pets": ["Pixel"], "shared": 1})
    copied = await house.copies.fork(ALICE, log, at=None)
    named = await house.copies.fork(ALICE, log, at=None, title="My own title")
    await house.sessions.describe(named, title="My own title", metadata={"place": "Bergen", "pets": ["Pixel"]})

    receipt = await forget(house, session_id=log.session.session_id)

    assert (copied.session.title, copied.session.metadata) == (None, {})
    assert (named.session.title, named.session.metadata) == ("My own title", {"place": "Bergen"})
    assert await in_rows(house, "Pixel") == {}
    assert await in_rows(house, "Her secret") == {}
    assert receipt.removed["titles"] == 2


async def test_an_import_that_runs_brings_nothing_back(house: House) -> None:
    owner = Owner("assistant", "alice", ANN, "")
    lines = [Line(f"{SECRET} {number}") for number in range(6 * PAGE)]
    importing = asyncio.create_task(house.memories.bring_in(owner, Scope.CONVERSATIONAL, lines, sessions=set()))
    await until(lambda: bool(house.memories._imports._running))

    receipt = await forget(house, user_id=ANN)

    with pytest.raises(Conflict, match="was forgotten"):
        await importing
    assert await remembered(house) == []
    assert receipt.found_afterwards == 0
    assert await house.memories.bring_in(owner, Scope.CONVERSATIONAL, lines[:1], sessions=set()) == 1


async def test_what_a_terminated_session_left_for_others_can_be_forgotten(on_file: House) -> None:
    log = await talk_of_ann(on_file)
    await on_file.terminations.terminate(log)
    assert len(await remembered(on_file)) == 4
    receipt = await forget(on_file, session_id="session-of-ann")
    assert (receipt.removed["memories"], receipt.found_afterwards) == (4, 0)
    assert in_files(on_file, SECRET) == []


async def test_what_other_sessions_were_told_of_it_is_taken_out_of_their_records(house: House) -> None:
    await house.say(await house.session("session-of-ann", user=ANN), f"My cat is {SECRET}")
    await house.say(await house.session("kept-session", user=ANN), "My cat is old")
    third = await house.session("third-session", user=ANN)
    outcome = await house.say(third, "What is my cat?", "A cat")
    running = await house.session("running-session", user=ANN)
    turn = await house.start(running, "What is my cat?")
    await until(lambda: turn.memory is not None)
    assert SECRET in str(turn.memory)
    receipt = await forget(house, session_id="session-of-ann")
    assert receipt.removed["recalled"] == 2  # kept-session was told, too
    stream = await house.llm.answering(4)
    stream.say("A cat")
    stream.finish()
    await turn.done
    assert await in_rows(house, SECRET) == {}
    for log, turn_id in ((third, outcome.turn_id), (running, turn.turn_id)):
        stored = await house.stored(log, turn_id)
        assert stored.memory is not None
        assert "My cat is old" in str(stored.memory["memories"])
        shown = await frames_of(house.read(log))
        assert SECRET not in str(shown)
        assert shown[-1][1] == "turn_finished"


# -- a memory -----------------------------------------------------------------------------------------------------


async def test_a_memory_is_forgotten_with_the_message_it_came_from(house: House) -> None:
    log = await house.session("session-of-ann", user=ANN)
    await house.say(log, f"My dog is {SECRET}", "Nice")
    fork = await house.copies.fork(ALICE, log, at=None, session_id="the-fork-of-it")
    await house.say(log, "It rains", "Oh")
    (stored,) = [one for one in await house.longterm.list(Owned("assistant", "alice")) if SECRET in one.text]
    receipt = await forget(house, memory_id=stored.memory_id)
    assert (receipt.found_afterwards, receipt.removed["messages"]) == (0, 2)
    assert await in_rows(house, SECRET) == {}
    assert [text for _, _, text in await house.texts(log)] == [FORGOTTEN, "Nice", "It rains", "Oh"]
    assert [text for _, _, text in await house.texts(fork)] == [FORGOTTEN, "Nice"]
    await house.say(log, "Go on", "Yes")
    assert SECRET not in told(house)
    assert FORGOTTEN in told(house)


async def test_a_memory_found_through_the_fork_is_forgotten_in_the_original_too(make: Make) -> None:
    house = await make(storage_scope="session")  # what a session alone remembers is copied for its fork
    log = await house.session("session-of-ann")
    await house.say(log, f"My dog is {SECRET}", "Nice")
    fork = await house.copies.fork(ALICE, log, at=None, session_id="the-fork-of-it")
    copies = await house.longterm.list(Owned("assistant", "alice", session_id="the-fork-of-it"))
    (copied,) = [one for one in copies if SECRET in one.text]
    await forget(house, memory_id=copied.memory_id)
    assert await in_rows(house, SECRET) == {}
    assert (await house.texts(fork))[0][2] == (await house.texts(log))[0][2] == FORGOTTEN


# -- a phrase -----------------------------------------------------------------------------------------------------


async def test_a_phrase_goes_from_everything_and_the_rest_stays(house: House) -> None:
    log = await talk_of_ann(house)
    (stored,) = [one for one in await house.longterm.list(Owned("assistant", "alice")) if one.text == "And now?"]
    await house.longterm.edit(stored, f"And {SECRET}?")
    await house.longterm.edit(
        next(one for one in await house.longterm.list(Owned("assistant", "alice")) if one.version == 2), "And then?"
    )
    bobs = await house.session("session-of-bob", user=BOB)
    await house.say(bobs, "I am Bob", "Hello Bob")
    receipt = await forget(house, phrase=f"  {SECRET.upper()}\n")
    assert (receipt.rows_found, receipt.found_in, receipt.problem) == (0, {}, None)
    assert await in_rows(house, SECRET) == {}
    assert [text for _, _, text in await house.texts(log)] == [FORGOTTEN, FORGOTTEN, "And now?", "Nothing"]
    assert (log.session.title, log.session.metadata) == (None, {"word": FORGOTTEN})
    assert await remembered(house) == ["Nothing", "I am Bob", "Hello Bob"]
    assert [text for _, _, text in await house.texts(bobs)] == ["I am Bob", "Hello Bob"]
    assert (await house.say(log, "Go on", "Yes")).state is TurnState.COMPLETED
    assert SECRET not in told(house)


async def test_turns_that_answered_the_message_again_are_redacted_with_it(house: House) -> None:
    log = await house.session("session-of-ann", user=ANN)
    await house.say(log, f"The word is {SECRET}", "I see")
    again = await house.history.again(log, None, "Think of the word")
    turn = await house.admission.start(log, house.agent, again, key=make_key("a-key", None), grace_seconds=None)
    (await house.llm.answering(2)).finish()
    await turn.done
    receipt = await forget(house, phrase=SECRET)
    assert (receipt.removed["turns"], receipt.removed["idempotency_keys"]) == (2, 1)
    assert (await house.stored(log, turn.turn_id)).instructions is None


async def test_readers_are_given_the_messages_as_they_stand_now(house: House) -> None:
    log = await talk_of_ann(house)
    with house.read(log) as early:
        before = await frames_of(early)
        assert SECRET in str(before)
        await forget(house, phrase=SECRET)
        late = await frames_of(house.read(log))
        assert [(kind, frame["text"]) for _, kind, frame in late] == [("snapshot", FORGOTTEN), ("snapshot", "Nothing")]
        await house.say(log, "Go on", "Yes")
        assert [kind for _, kind, _ in await frames_of(early)] == ["turn_started", "text", "turn_finished"]


async def test_a_turn_that_was_told_the_phrase_is_stopped_and_others_are_not(on_file: House) -> None:
    hers, bobs = await on_file.session("hers", user=ANN), await on_file.session("bobs", user=BOB)
    turn = await on_file.start(hers, SECRET)
    (await on_file.llm.answering(1)).say(f"You said {SECRET}")
    queued = await on_file.start(hers, "And then?")
    other = await on_file.start(bobs, "Hello")
    stream = await on_file.llm.answering(2)
    await until(lambda: SECRET in hers.visible_text())
    await forget(on_file, phrase=SECRET)
    assert turn.done.result().state is queued.done.result().state is TurnState.CANCELLED
    stream.say("Hi")
    stream.finish()
    assert (await other.done).text == "Hi"
    assert await in_rows(on_file, SECRET) == {}
    assert [text for _, _, text in await on_file.texts(hers)] == [FORGOTTEN, FORGOTTEN]


async def test_a_phrase_is_forgotten_of_one_user_or_session_alone(on_file: House) -> None:
    for session_id, user in (("one", ANN), ("two", ANN), ("three", BOB)):
        await on_file.say(await on_file.session(session_id, user=user), SECRET, "Fine")
    await forget(on_file, phrase=SECRET, session_id="one", user_id=ANN)
    assert (await in_rows(on_file, SECRET))["messages"] == 2
    receipt = await forget(on_file, phrase=SECRET, user_id=ANN)
    assert (await in_rows(on_file, SECRET))["messages"] == 1
    assert receipt.found_afterwards == 0  # what is left is Bob's


async def test_what_was_redacted_is_not_remembered_when_a_session_catches_up(make: Make) -> None:
    house = await make(storage_scope="session", batch_size=0)
    log = await house.session("hers", user=ANN)
    await house.say(log, SECRET, "Fine")
    await forget(house, phrase=SECRET)
    await house.endings.end(log)
    await house.final.settled()
    assert await remembered(house) == ["Fine"]


async def test_a_summary_that_is_just_being_written_is_given_up(make: Make) -> None:
    house = await make(storage_scope="conversational")
    log = await house.session("hers", user=ANN)
    await house.say(log, SECRET, "Fine")
    await house.endings.end(log)
    summing = await house.llm.answering(2)
    assert SECRET in str(summing.messages())
    await forget(house, phrase=SECRET)
    assert summing.is_stopped
    assert await in_rows(house, SECRET) == {}
    assert await remembered(house) == ["Fine"]


# -- afterwards ---------------------------------------------------------------------------------------------------


class RealIds(Ids):
    """As the server makes them, in whatever order."""

    def __call__(self, kind: str) -> str:
        return format_id(kind, milliseconds=1000, randomness=hash(super().__call__(kind)))


@pytest.fixture
async def copied(tmp_path: Path) -> AsyncIterator[House]:
    """A house with a backup beside its database, taken after Ann and Bob had said something."""
    opened = House(tmp_path / "hector.db", agent=AGENT, ids=RealIds())
    await opened.open()
    await talk_of_ann(opened)
    await opened.say(await opened.session("session-of-bob", user=BOB), "The blue parrot", "Hello Bob")
    await opened.database.alone(lambda c: c.exec_driver_sql(f"VACUUM INTO '{tmp_path}/copy.db'"))
    yield opened
    await opened.close()


@pytest.mark.parametrize("target", [{"user_id": ANN}, {"phrase": SECRET}, {"session_id": "session-of-ann"}])
async def test_a_copy_of_the_database_beside_it_is_found_and_named(copied: House, target: dict[str, str]) -> None:
    receipt = await forget(copied, **target)
    assert (receipt.rows_found, list(receipt.found_in)) == (0, ["copy.db"])
    assert receipt.found_afterwards > 0


async def test_nobody_learns_from_it_what_others_have_said(copied: House) -> None:
    log = await copied.session("blue-parrot", user="eve")
    await copied.say(log, "The blue parrot", "Indeed")
    for target in (
        {"phrase": "blue parrot", "user_id": "eve"},
        {"user_id": "eve"},
        {"phrase": "blue parrot", "user_id": "x"},
    ):
        receipt = await forget(copied, **target)
        assert receipt.found_afterwards == 0


async def test_wherever_the_server_dies_the_next_one_finishes(tmp_path: Path) -> None:
    """From the n-th unit on nothing is written, for every n: as after a kill."""
    for number in range(1, 40):
        folder = tmp_path / str(number)
        folder.mkdir()
        first = House(folder / "hector.db", agent=AGENT)
        await first.open()
        log = await talk_of_ann(first)
        await first.copies.fork(ALICE, log, at=None, session_id="the-fork-of-it")
        await first.say(await first.session("session-of-bob", user=BOB), "I am Bob", "Hello Bob")
        units = iter(range(1, 1000))
        first.database.refuses = lambda _unit, units=units, number=number: next(units) >= number
        try:
            await forget(first, session_id="session-of-ann")
        except Unavailable:
            is_done = False
        else:
            is_done = True
        await first.forgettings.close()
        await first.kill()
        second = House(folder / "hector.db", agent=AGENT)
        await second.open()
        await second.recover()
        if number > 1:  # the request itself was written
            assert set(await in_rows(second, SECRET)) <= {"sessions"}, number
            assert await count_rows(second.database, "session-of-ann") == {}, number
            assert in_files(second, "session-of-ann") == [], number
        assert await in_rows(second, "I am Bob")
        await second.kill()
        if is_done:
            assert number > 5
            return
    raise AssertionError("it was never done")


async def test_a_request_that_cannot_be_stored_changes_nothing(on_file: House) -> None:
    log = await talk_of_ann(on_file)
    on_file.database.refuses = lambda unit: True
    with pytest.raises(Unavailable):
        await forget(on_file, user_id=ANN)
    on_file.database.refuses = None
    assert log.over is None
    assert await in_rows(on_file, SECRET)


async def test_what_stood_in_the_way_is_told_and_tried_again(on_file: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await talk_of_ann(on_file)
    monkeypatch.setattr("app.forgetting.forgettings.RETRY_SECONDS", 0.01)
    running = asyncio.create_task(on_file.forgettings.run())
    with on_file.database.engine.connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT * FROM sessions").all()
        receipt = await forget(on_file, user_id=ANN)
        assert receipt.rows_found == 0
        assert receipt.problem is not None
    await until(lambda: not in_files(on_file, ANN) and not in_files(on_file, SECRET))
    running.cancel()
