"""What a session leaves behind: the rest of its messages, a summary for wider scopes, nothing where that was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import Unavailable
from app.domain.memory import Memory
from app.events.log import SessionLog
from app.llm.base import LLMError
from app.storage.memories import Owned
from tests.fixtures.clock import Ids
from tests.fixtures.hand_llm import HandLLM
from tests.fixtures.house import House, until

Make = Callable[..., Any]
SUMMARY = "Ann has a cat called Pixel. She lives in Oslo."


class Hall(House):
    def __init__(self, file: Path, ids: Ids, *, working: dict[str, Any] | None = None, **longterm: Any) -> None:
        self.writer = HandLLM()
        agent = {"memory": {"working": working or {"strategy": "buffer_window"}, "longterm": longterm}}
        super().__init__(file, ids=ids, agent=agent, summarizer=self.writer)

    async def sum_up(self, text: str = SUMMARY, number: int = 1) -> None:
        """Write the summary that is asked for as number so and so, and wait until it is kept."""
        stream = await self.writer.answering(number)
        stream.say(text)
        stream.finish()
        await self.settled()

    async def settled(self) -> None:
        await self.summaries.settled()
        await self.final.settled()

    async def remembered(self, user: str | None = None) -> list[Memory]:
        return list(reversed(await self.longterm.list(Owned("assistant", "alice", user))))


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Hall] = []
    ids = Ids()

    async def make(**options: Any) -> Hall:
        made.append(Hall(tmp_path / "hector.db", ids, **options))
        await made[-1].open()
        return made[-1]

    yield make
    for hall in made:
        await hall.close()


async def talked(hall: Hall, user: str | None = "ann") -> SessionLog:
    log = await hall.session("first", user=user)
    await hall.say(log, "My cat is called Pixel", "Nice name")
    await hall.say(log, "I live in Oslo", "Fine")
    return log


async def test_a_session_that_ends_leaves_a_summary_to_those_after_it(make: Make) -> None:
    hall = await make(storage_scope="conversational")
    log = await talked(hall)
    assert hall.writer.streams == [], "no model is asked while it goes on"
    await hall.endings.end(log)
    stream = await hall.writer.answering()
    assert "User: My cat is called Pixel\nAssistant: Nice name\nUser: I live in Oslo" in stream.messages()[1][1]
    await hall.sum_up()
    found = (await hall.remembered("ann"))[-1]
    assert (found.kind, found.text, found.speaker) == ("summary", SUMMARY, "summary")
    assert found.owner.session_id == "first"
    await hall.say(await hall.session(user="ann"), "What pets does Ann have? A cat called Pixel?")
    assert SUMMARY in hall.llm.streams[-1].messages()[0][1]


@pytest.mark.parametrize(("scope", "user"), [("session", "ann"), ("conversational", "anonymous")])
async def test_no_model_is_asked_for_what_nobody_else_recalls(make: Make, scope: str, user: str) -> None:
    hall = await make(storage_scope=scope, batch_size=0)
    await hall.endings.end(await talked(hall, user))
    await hall.settled()
    assert hall.writer.streams == []
    assert len(await hall.remembered()) == 4


async def test_where_only_summaries_are_remembered_nothing_else_is(make: Make) -> None:
    hall = await make(storage_scope="summaries_only")
    await hall.endings.end(await talked(hall))
    await hall.sum_up()
    assert [memory.text for memory in await hall.remembered()] == [SUMMARY]
    await hall.say(await hall.session(user="ann"), "What is my cat called?", "Pixel")
    assert SUMMARY in hall.llm.streams[-1].messages()[0][1]


async def test_a_session_that_goes_on_leaves_the_summaries_of_its_working_memory(make: Make) -> None:
    hall = await make(storage_scope="summaries_only", working={"budget": 150, "threshold": 0.1})
    log = await talked(hall)
    await hall.sum_up("Early.")
    await hall.say(log, "It rains", "Oh")
    await hall.sum_up("Later.", 2)
    assert [memory.text for memory in await hall.remembered()] == ["Later."]
    await hall.say(log, "What was later?", "This")
    assert "recalled" not in hall.llm.streams[-1].messages()[0][1], "the session itself has its summary already"
    await hall.sum_up("Latest.", 3)
    await hall.endings.end(log)
    await hall.sum_up("All of it.", 4)
    assert [memory.text for memory in await hall.remembered()] == ["All of it."]


async def test_a_long_summary_is_remembered_in_pieces_of_whole_sentences(make: Make) -> None:
    hall = await make(storage_scope="conversational")
    await hall.endings.end(await talked(hall))
    sentences = [" ".join([f"s{number}"] * 25) + "." for number in range(5)]
    await hall.sum_up(" ".join(sentences))
    pieces = [memory.text for memory in await hall.remembered() if memory.kind == "summary"]
    assert pieces == [" ".join(sentences[:2]), " ".join(sentences[2:4]), sentences[4]]


async def test_a_session_that_expires_is_remembered_like_one_that_ends(make: Make) -> None:
    hall = await make(storage_scope="conversational", batch_size=0)
    await hall.endings.expire(await talked(hall))
    await hall.sum_up()
    assert [memory.kind for memory in await hall.remembered()] == ["message"] * 4 + ["summary"]


async def test_an_empty_session_asks_no_model(make: Make) -> None:
    hall = await make(storage_scope="conversational")
    await hall.endings.end(await hall.session(user="ann"))
    await hall.settled()
    assert hall.writer.streams == []


async def test_a_summary_that_fails_is_said_and_the_messages_stay(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    hall = await make(storage_scope="conversational", batch_size=0)
    await hall.endings.end(await talked(hall))
    (await hall.writer.answering()).fail(LLMError("no such model"))
    await hall.settled()
    assert "was not summed up: no such model" in caplog.text
    assert len(await hall.remembered()) == 4
    caplog.clear()


async def test_what_a_stop_interrupted_is_done_after_the_next_start(make: Make) -> None:
    hall = await make(storage_scope="conversational")
    await hall.endings.end(await talked(hall))
    await hall.writer.answering()
    await hall.close()
    again = await make(storage_scope="conversational")
    await again.final.resume()
    await again.sum_up()
    assert (await again.remembered())[-1].text == SUMMARY
    await again.final.resume()
    await again.settled()
    assert len(again.writer.streams) == 1, "once is enough"


async def test_a_long_session_is_summed_up_by_a_bounded_number_of_calls(make: Make) -> None:
    hall = await make(
        storage_scope="conversational", auto_recall=False, working={"strategy": "buffer_window", "budget": 150}
    )
    log = await hall.session(user="ann")
    for number in range(120):
        await hall.admission.add(log, hall.agent, "user", " ".join([f"m{number}"] * 40))
    await hall.endings.end(log)
    writing = asyncio.create_task(write_all(hall))
    await until(lambda: not hall.final._jobs)
    writing.cancel()
    assert 15 <= len(hall.writer.streams) <= 18
    assert "m119" in hall.writer.streams[-1].messages()[1][1]


@pytest.mark.parametrize(
    ("scope", "forget_all", "kept"), [("conversational", False, 5), ("conversational", True, 0), ("session", False, 0)]
)
async def test_a_delete_remembers_what_is_left_for_others_without_a_model(
    make: Make, scope: str, forget_all: bool, kept: int
) -> None:
    hall = await make(storage_scope=scope, batch_size=10)
    log = await talked(hall)
    await hall.start(log, "And my sister plays the cello")
    await hall.llm.answering(3)
    await hall.terminations.terminate(log, forget_all=forget_all)
    await hall.settled()
    assert hall.writer.streams == []
    assert len(await hall.remembered()) == kept


async def test_a_delete_stops_the_summary_that_is_being_written(make: Make) -> None:
    hall = await make(storage_scope="conversational")
    log = await talked(hall)
    await hall.endings.end(log)
    stream = await hall.writer.answering()
    await hall.terminations.terminate(log, forget_all=True)
    await hall.settled()
    assert stream.is_stopped
    assert await hall.remembered() == []


async def test_a_delete_waits_for_a_database_that_cannot_remember_yet(make: Make) -> None:
    hall = await make(storage_scope="conversational", batch_size=10)
    log = await talked(hall)
    hall.database.refuses = lambda unit: True
    with pytest.raises(Unavailable):
        await hall.terminations.terminate(log)
    hall.database.refuses = None
    await until(lambda: hall.live.peek("first") is None)
    assert len(await hall.remembered()) == 4


async def write_all(hall: Hall) -> None:
    """Answer every summary that is asked for."""
    number = 0
    while True:
        number += 1
        stream = await hall.writer.answering(number)
        stream.say(f"Part {number}.")
        stream.finish()


async def test_where_nobody_sums_up_the_messages_are_remembered_all_the_same(make: Make) -> None:
    hall = await make(storage_scope="conversational", batch_size=0)
    hall.agent = replace(hall.agent, summarizer=None)
    hall.roster.replace({"assistant": hall.agent})
    await hall.endings.end(await talked(hall))
    await hall.settled()
    assert hall.writer.streams == []
    assert len(await hall.remembered()) == 4
