"""Two who change one act in one moment: one is told that he came second, and the turn ends as it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.domain.act import Act, ActState
from app.domain.errors import Conflict
from app.domain.turn import TurnState
from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM
from app.storage import acts
from tests.fixtures.house import House, until
from tests.fixtures.tools import MadeTool, MadeToolbox


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    answers = [Answer("I pay.", calls=(ScriptedCall("pay", {}),)), Answer("Done.")]
    made = House(
        tmp_path / "hector.db", llm=ScriptedLLM(answers=answers), toolbox=MadeToolbox(MadeTool("pay"), ask=["pay"])
    )
    await made.open()
    yield made
    await made.close()


async def act_of(house: House) -> Act:
    (act,) = await house.database.read(lambda connection: acts.page(connection, ["s1"], limit=10))
    return act


async def test_who_decides_second_is_told_so(house: House) -> None:
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await turn.parked.wait()
    call_id = (await act_of(house)).call_id
    house.database.hold()
    yes = asyncio.create_task(house.decisions.decide(log, call_id, approved=True, by="ann"))
    await until(lambda: house.database.held == 1)
    no = asyncio.create_task(house.decisions.decide(log, call_id, approved=False, by="bob"))
    await until(lambda: house.database.held == 2)
    house.database.let_go()
    assert (await yes).state is ActState.APPROVED
    with pytest.raises(Conflict, match="already"):
        await no
    assert (await turn.done).text == "Done."


async def test_a_cancel_in_the_moment_of_an_approval_cancels(house: House, caplog: pytest.LogCaptureFixture) -> None:
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await turn.parked.wait()
    call_id = (await act_of(house)).call_id
    house.database.hold()
    yes = asyncio.create_task(house.decisions.decide(log, call_id, approved=True, by="ann"))
    await until(lambda: house.database.held == 1)
    cancelling = asyncio.create_task(house.stopping.cancel(log))
    await until(lambda: house.database.held == 2)
    house.database.let_go()
    await asyncio.gather(yes, cancelling)
    outcome = await turn.done
    assert (outcome.state, outcome.reason) == (TurnState.CANCELLED, "cancelled")
    assert (await act_of(house)).state is ActState.CANCELLED
    assert "our fault" not in caplog.text


async def test_an_approval_in_the_moment_of_a_cancel_is_refused(house: House) -> None:
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await turn.parked.wait()
    call_id = (await act_of(house)).call_id
    house.database.hold()
    cancelling = asyncio.create_task(house.stopping.cancel(log))
    await until(lambda: house.database.held == 1)
    yes = asyncio.create_task(house.decisions.decide(log, call_id, approved=True, by="ann"))
    await until(lambda: house.database.held == 2)
    house.database.let_go()
    await cancelling
    with pytest.raises(Conflict, match="already"):
        await yes
    assert turn.done.result().state is TurnState.CANCELLED
