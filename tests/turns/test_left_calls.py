"""A call that does not end when it is told to: nobody says that it did not happen."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.domain.act import ActState, ToolClass
from app.domain.turn import TurnState
from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM
from app.storage import acts
from app.tools.base import ToolContext, ToolOutcome, ToolResult
from app.turns.acting import ActLimits
from tests.fixtures.house import House, until
from tests.fixtures.tools import MadeTool, MadeToolbox, gated


@pytest.mark.parametrize(
    ("tool_class", "state"), [(ToolClass.ONCE, ActState.UNKNOWN), (ToolClass.READ, ActState.CANCELLED)]
)
async def test_a_call_that_is_left_to_itself_is_not_said_to_be_cancelled(
    tmp_path: Path, tool_class: Any, state: ActState
) -> None:
    gate = asyncio.Event()
    tool = MadeTool("act", gated(gate), tool_class=tool_class)
    llm = ScriptedLLM(answers=[Answer("I act.", calls=(ScriptedCall("act", {}),)), Answer("Fine.")])
    house = House(tmp_path / "hector.db", llm=llm, toolbox=MadeToolbox(tool), limits=ActLimits(stop_seconds=0.05))
    await house.open()
    try:
        log = await house.session("s1")
        turn = await house.start(log, "Go")
        await until(lambda: bool(tool.runs))
        await house.stopping.cancel(log)
        assert (await turn.done).state is TurnState.CANCELLED
        (act,) = await house.database.read(lambda connection: acts.page(connection, ["s1"], limit=10))
        assert act.state is state
        assert act.waiting_for == ("input" if state is ActState.UNKNOWN else None)
        assert (await (await house.start(log, "And now?")).done).text == "Fine."
    finally:
        gate.set()
        await house.close()


async def test_a_result_of_the_last_moment_can_be_read_as_a_whole(tmp_path: Path) -> None:
    async def finish(_arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        await context.stop.wait()
        return ToolResult("0123456789" * 500)

    tool = MadeTool("act", finish)
    llm = ScriptedLLM(answers=[Answer("I act.", calls=(ScriptedCall("act", {}),))])
    house = House(tmp_path / "hector.db", llm=llm, toolbox=MadeToolbox(tool), limits=ActLimits(result_inline=400))
    await house.open()
    try:
        log = await house.session("s1")
        await house.start(log, "Go")
        await until(lambda: bool(tool.runs))
        await house.stopping.cancel(log)
        (act,) = await house.database.read(lambda connection: acts.page(connection, ["s1"], limit=10))
        assert act.state is ActState.SETTLED
        assert act.result_id is not None
        assert act.result_id in (act.outcome or "")
        assert await house.decisions.stored_result(log, act.result_id) == "0123456789" * 500
    finally:
        await house.close()
