"""The prompt: what of the conversation the model sees, read once and kept while the session is warm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.sessions.draft import Draft, Seed
from app.turns.prompt import MARKS, as_entries
from app.turns.template import LEFT_OUT
from tests.fixtures.house import ALICE, House, until
from tests.fixtures.rows import a_message


async def house_of(**working: Any) -> House:
    made = House(agent={"memory": {"working": working}, "prompt": {"system_prompt": "Be brief."}})
    await made.open()
    return made


@pytest.fixture
async def small() -> AsyncIterator[House]:
    """Sees the three newest messages."""
    made = await house_of(strategy="buffer_window", window_size=3)
    yield made
    await made.close()


def asked(house: House) -> list[str]:
    """The messages of the last request, without the system prompt."""
    return [content for _, content in house.llm.streams[-1].messages()[1:]]


async def test_the_system_prompt_comes_first_and_the_question_last(small: House) -> None:
    await small.say(await small.session(), "Hi", "Hello")
    assert small.llm.streams[0].messages() == [("system", "Be brief."), ("user", "Hi")]


async def test_the_window_moves_on(small: House) -> None:
    log = await small.session()
    for number in range(4):
        await small.say(log, f"q{number}", f"a{number}")
    assert asked(small) == ["q2", "a2", "q3"]


async def test_a_cold_session_asks_what_a_warm_one_asks(small: House) -> None:
    log = await small.session()
    for number in range(3):
        await small.say(log, f"q{number}", f"a{number}")
    small.live.remove(log.session.session_id)
    cold = await small.live.open(log.session.session_id)
    assert cold is not None
    await small.say(cold, "q3", "a3")
    assert asked(small) == ["q2", "a2", "q3"]


async def test_a_long_history_is_read_page_by_page_but_not_further_than_needed() -> None:
    house = await house_of(strategy="buffer_window", window_size=150)
    log = await house.session()
    for number in range(90):
        await house.say(log, f"q{number}", f"a{number}")
    house.live.remove(log.session.session_id)
    cold = await house.live.open(log.session.session_id)
    assert cold is not None
    await house.say(cold, "last", "a")
    found = asked(house)
    assert len(found) == 149, "the oldest of the newest 150 is an answer without its question"
    assert found[0] == "q16"
    assert found[-3:] == ["q89", "a89", "last"]
    await house.close()


@pytest.mark.parametrize(("size", "sent"), [(1, ["q"]), (2, ["q"]), (3, [LEFT_OUT, "a", "q"])])
async def test_an_assistant_that_spoke_first_does_not_widen_the_window(size: int, sent: list[str]) -> None:
    house = await house_of(strategy="buffer_window", window_size=size)
    log, _ = await house.sessions.create(ALICE, "assistant", draft=Draft(seeds=(Seed("assistant", "a"),)))
    await house.say(log, "q", "b")
    assert asked(house) == sent
    await house.close()


async def test_an_answer_that_was_stopped_says_so_warm_and_cold(small: House) -> None:
    log = await small.session()
    turn = await small.start(log, "Tell me")
    stream = await small.llm.answering()
    stream.say("Once upon")
    await until(lambda: log.last_seq == 2)
    await small.stopping.cancel(log)
    await turn.done
    await small.say(log, "Go on", "a time")
    expected = ["Tell me", "Once upon" + MARKS["cancelled"], "Go on"]
    assert asked(small) == expected
    small.live.remove(log.session.session_id)
    cold = await small.live.open(log.session.session_id)
    assert cold is not None
    await small.say(cold, "And?", "the end")
    assert asked(small) == ["Go on", "a time", "And?"]


@pytest.mark.parametrize("status", ["cancelled", "failed", "interrupted"])
def test_every_way_of_not_being_whole_has_its_words(status: str) -> None:
    message = a_message(3, status=status, content="Half")
    assert as_entries([message])[0].text() == "Half" + MARKS[status]
    assert as_entries([a_message(3, content="Whole")])[0].text() == "Whole"
    assert as_entries([a_message(3, role="user", status=status, content="A question")])[0].text() == "A question"
