"""What others change while a turn makes its request: the stored history, and the agent of the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from app.memory.budget import ModelBudget
from app.memory.working import Entry
from app.turns.ask import Ask
from app.turns.desk import desk_of
from tests.fixtures.hand_llm import HandLLM
from tests.fixtures.house import NEVER, House, until


class HeldBudget:
    """A budget that a turn waits for while it makes its request."""

    tools_tokens = 0

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def settle(self, _window: Sequence[Entry]) -> None:
        self.is_asked.set()
        await self.may_go_on.wait()


@pytest.fixture(params=["summary_buffer", "buffer_window"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    opened = House(agent={"memory": {"working": {"strategy": request.param}}})
    await opened.open()
    yield opened
    await opened.close()


def said_to(house: House, number: int) -> str:
    return b"".join(house.llm.streams[number].request.messages).decode()


async def test_a_history_that_is_put_right_while_a_turn_makes_its_request_is_read_again_for_the_next(
    house: House,
) -> None:
    log = await house.session()
    await house.say(log, "One", "first")
    budget = HeldBudget()
    held = replace(house.agent, budget=cast(ModelBudget, budget))
    desk = desk_of(log)
    assert desk is not None
    turn = await house.admission.start(log, held, Ask("Two"), grace_seconds=NEVER)
    is_read = asyncio.ensure_future(budget.is_asked.wait())
    await asyncio.wait([is_read, asyncio.ensure_future(house.llm.answering(2))], return_when=asyncio.FIRST_COMPLETED)
    desk.read_again()
    window = desk.window
    budget.may_go_on.set()
    async with asyncio.timeout(5):
        model = await house.llm.answering(2)
    model.say("second")
    model.finish()
    assert (await turn.done).text == "second"
    was_stale = desk.is_stale
    await house.say(log, "Three", "third")
    assert (was_stale, desk.is_stale) == (True, False)
    assert window is not desk.window
    assert [text for text in ("One", "first", "Two", "second") if text not in said_to(house, 2)] == []


async def test_an_open_turn_keeps_its_agent_and_the_next_has_the_new_one(house: House) -> None:
    log = await house.session()
    turn = await house.start(log, "One")
    model = await house.llm.answering()
    new = HandLLM()
    agent = replace(house.agent, llm=cast(Any, new))
    queued = await house.admission.start(log, agent, Ask("Two"), grace_seconds=NEVER)
    desk = desk_of(log)
    assert desk is not None
    assert desk.agent is house.agent
    model.say("first")
    model.finish()
    await turn.done
    after = await new.answering()
    after.say("second")
    after.finish()
    assert (await queued.done).text == "second"
    assert b"first" in b"".join(after.request.messages)


async def test_an_agent_that_came_back_before_the_next_turn_changes_nothing(house: House) -> None:
    log = await house.session()
    await house.start(log, "One")
    model = await house.llm.answering()
    desk = desk_of(log)
    assert desk is not None
    desk.serve(replace(house.agent))
    desk.serve(house.agent)
    model.finish()
    await until(lambda: desk.open is None)
    await house.start(log, "Two")
    await house.llm.answering(2)
    assert desk.agent is house.agent
