"""Delegation: an agent calls another one; what that does is seen at the root, answered there, and stopped with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.agents import build_agent
from app.config.agent import AgentConfig
from app.domain.act import ActState
from app.domain.turn import TurnState
from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM
from app.storage import acts, sessions
from app.tools.base import ToolContext, ToolOutcome
from app.tools.ports import AgentCall
from app.turns.desk import desk_of
from tests.fixtures.house import ALICE, House, frames_of, until
from tests.fixtures.tools import MadeTool, MadeToolbox, hang

ASKS = Answer(calls=(ScriptedCall("agent_call", {"agent": "writer", "message": "Write it"}),))


class Team:
    """A house with the agent `assistant`, which may call `writer`."""

    def __init__(
        self,
        folder: Path,
        writer: list[Answer],
        *tools: MadeTool,
        root: Sequence[Answer] = (ASKS, Answer("All done.")),
        **rules: Any,
    ) -> None:
        async def call(arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
            return await self.house.built.delegation.call(AgentCall(**arguments, max_depth=3), context)

        toolbox = MadeToolbox(MadeTool("agent_call", call), *tools, **rules)
        self.house = House(folder / "hector.db", llm=ScriptedLLM(answers=root), toolbox=toolbox)
        agent = build_agent("writer", AgentConfig(), ScriptedLLM(answers=writer), summarizer=None)
        self.house.roster.replace({"assistant": self.house.agent, "writer": agent})

    async def children(self) -> list[str]:
        return await self.house.database.read(lambda connection: acts.children(connection, "s1"))


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Any]:
    made: list[Team] = []

    async def make(writer: list[Answer], *tools: MadeTool, **rules: Any) -> Team:
        team = Team(tmp_path, writer, *tools, **rules)
        await team.house.open()
        made.append(team)
        return team

    yield make
    for one in made:
        await one.house.close()


WRITES = Answer("I write.", calls=(ScriptedCall("write", {"path": "a"}),))


async def test_the_answer_of_the_other_agent_is_the_result_and_its_steps_are_seen(team: Any) -> None:
    made = await team([WRITES, Answer("Written.")], MadeTool("write"))
    house = made.house
    log = await house.session("s1")
    outcome = await (await house.start(log, "Go")).done
    assert outcome.text == "All done."
    shown = [frame for _, _, frame in await frames_of(house.read(log))]
    nested = [frame for frame in shown if frame.get("agent") == "writer" or frame.get("tool", {}).get("agent")]
    assert [frame["type"] for frame in nested] == [
        *["tool_progress"] * 2,
        "tool_call",
        "tool_result",
        "tool_progress",
    ]
    assert nested[2]["tool"]["depth"] == 1
    result = next(frame for frame in shown if frame.get("name") == "agent_call" and frame["type"] == "tool_result")
    assert result["result"] == "Written."
    listed = await house.sessions.list(ALICE, "assistant", status=None, order="creation", before=None, limit=10)
    assert [one.session_id for one in listed] == ["s1"]


async def test_an_approval_of_the_other_agent_is_asked_and_answered_at_the_root(team: Any) -> None:
    tool = MadeTool("write")
    made = await team([WRITES, Answer("Written.")], tool, ask=["write"])
    house = made.house
    log = await house.session("s1")
    turn = await house.start(log, "Go")

    async def asked() -> list[Any]:
        found: list[Any] = await house.decisions.page(
            log, states=[ActState.WAITING], waiting_for="approval", with_children=True, limit=10
        )
        return found

    async def is_asked() -> bool:
        return bool(await asked())

    await until(is_asked)
    (act,) = await asked()
    owner, found = await house.decisions.locate(log, act.call_id)
    assert owner.session.agent == "writer"
    await house.decisions.decide(owner, found.call_id, approved=True, by="ann")
    assert (await turn.done).text == "All done."
    assert len(tool.runs) == 1
    kinds = [frame.get("type") for _, _, frame in await frames_of(house.read(log))]
    assert "approval_request" in kinds


async def test_cancel_reaches_the_other_agent(team: Any) -> None:
    tool = MadeTool("write", hang)
    made = await team([WRITES, Answer("Written.")], tool)
    house = made.house
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await until(lambda: bool(tool.runs))
    await house.stopping.cancel(log)
    assert (await turn.done).state is TurnState.CANCELLED
    (child,) = await made.children()
    below = await house.live.open(child)
    assert below is not None
    async with asyncio.timeout(5):
        while house.history.open_turns(below):
            await asyncio.sleep(0.01)
    found = await house.database.read(lambda connection: acts.page(connection, [child], limit=10))
    assert [act.state for act in found] == [ActState.CANCELLED]


async def test_what_the_other_agent_kept_goes_with_the_root(team: Any) -> None:
    made = await team([WRITES, Answer("Written.")], MadeTool("write"))
    house = made.house
    log = await house.session("s1")
    await (await house.start(log, "Go")).done
    (child,) = await made.children()
    await house.terminations.terminate(log)
    assert await house.database.read(lambda connection: sessions.find(connection, child)) is None


async def test_an_agent_is_not_called_by_those_it_has_called(team: Any) -> None:
    back = Answer(calls=(ScriptedCall("agent_call", {"agent": "assistant", "message": "You do it"}),))
    made = await team([back, Answer("Then I do.")])
    outcome = await (await made.house.start(await made.house.session("s1"), "Go")).done
    assert outcome.text == "All done."
    (child,) = await made.children()
    (act,) = await made.house.database.read(lambda connection: acts.page(connection, [child], limit=10))
    assert act.state is ActState.FAILED
    assert "has called you" in (act.outcome or "")


async def _asked(house: House) -> Any:
    """The approval that the agent below waits for."""
    log = await house.live.open("s1")
    assert log is not None
    found: list[Any] = []

    async def is_asked() -> bool:
        found[:] = await house.decisions.page(
            log, states=[ActState.WAITING], waiting_for="approval", with_children=True, limit=10
        )
        return bool(found)

    await until(is_asked)
    return found[0]


async def test_a_turn_whose_agent_below_waits_for_a_person_is_not_stopped_for_lack_of_readers(team: Any) -> None:
    made = await team([WRITES, Answer("Written.")], MadeTool("write"), ask=["write"])
    house = made.house
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    act = await _asked(house)
    await until(lambda: bool(turn.waits_below))
    turn.grace_seconds = 0.02
    desk = desk_of(log)
    assert desk is not None
    house.runner.grace.watch(desk)
    await asyncio.sleep(0.1)  # several times the grace
    assert turn.stop is None
    with house.read(log):
        owner, _ = await house.decisions.locate(log, act.call_id)
        await house.decisions.decide(owner, act.call_id, approved=True, by="ann")
        assert (await turn.done).text == "All done."


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_what_an_agent_below_waits_for_is_answered_after_a_restart(team: Any, how: str) -> None:
    made = await team([WRITES, Answer("Written.")], MadeTool("write"), ask=["write"])
    house = made.house
    turn = await house.start(await house.session("s1"), "Go")
    await _asked(house)
    await until(lambda: bool(turn.waits_below))
    if how == "stopped":
        house.shutdown.begin()
        await house.shutdown.finish(grace_seconds=5)
    house.runner.is_stopping = True  # a process that dies tells nobody
    await house.kill()
    tool = MadeTool("write")
    again = Team(
        Path(str(house.database.path)).parent, [Answer("Written.")], tool, root=[Answer("All done.")], ask=["write"]
    )
    again.house.ids, again.house.clock = house.ids, house.clock
    await again.house.open()
    try:
        assert await again.house.recover() == 0
        act = await _asked(again.house)
        log = await again.house.live.open("s1")
        assert log is not None
        (resumed,) = again.house.history.open_turns(log)
        owner, _ = await again.house.decisions.locate(log, act.call_id)
        await again.house.decisions.decide(owner, act.call_id, approved=True, by="ann")
        assert ((await resumed.done).text, len(tool.runs)) == ("All done.", 1)
    finally:
        await again.house.close()
