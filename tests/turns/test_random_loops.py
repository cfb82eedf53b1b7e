"""Random turns: whatever models, tools and people do, a turn has one end, whole pairs, and a ledger that is true.

`HECTOR_RANDOM_LOOPS=10000` runs so many of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.act import NEXT, Act, ActState
from app.domain.errors import ApprovalExpired, Conflict, InvalidRequest, NotFound
from app.domain.message import Message
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.llm.base import LLMRequest
from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM
from app.storage import acts, messages
from app.tools.base import Later, Question, ToolContext, ToolFailed, ToolOutcome, ToolResult, ToolStopped, ToolUnknown
from app.turns.acting import ActLimits
from app.turns.open_turn import OpenTurn
from tests.fixtures.house import House, frames_of
from tests.fixtures.tools import IDEMPOTENT, ONCE, READ, MadeTool, MadeToolbox

EXAMPLES = int(os.environ.get("HECTOR_RANDOM_LOOPS", "200"))
SESSIONS_PER_HOUSE = 500
PATIENCE_SECONDS = 20.0
LIMITS = ActLimits(parallel=2, result_inline=400, result_max=2000, stop_seconds=5.0)

# -- what tools do ------------------------------------------------------------------------------

DEEDS = ("succeed", "fail", "break", "slow", "later", "ask", "large", "lost", "stop by itself", "progress", "hang")
STRICT = {
    "type": "object",
    "properties": {"does": {"enum": list(DEEDS)}, "count": {"type": "integer"}},
    "required": ["does"],
    "additionalProperties": False,
}


async def do(arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
    """A body that does what its arguments say."""
    match arguments.get("does"):
        case "fail":
            raise ToolFailed("It did not work.")
        case "break":
            raise RuntimeError("a fault of the tool")
        case "slow":
            await asyncio.sleep(0.003)
        case "later":
            return Later("It comes by mail.")
        case "ask" if context.answer is None:
            return Question("Which one?", ("this", "that"))
        case "large":
            return ToolResult("0123456789" * 300)
        case "lost":
            raise ToolUnknown("the connection broke")
        case "stop by itself":
            raise ToolStopped
        case "progress":
            context.progress("half\n", 50)
            await asyncio.sleep(0)
        case "hang":
            await context.stop.wait()
            raise ToolStopped
    return ToolResult("done")


TOOLS = (
    MadeTool("act", do, tool_class=ONCE, parameters=STRICT),
    MadeTool("see", do, tool_class=READ),
    MadeTool("put", do, tool_class=IDEMPOTENT, parameters=STRICT),
    MadeTool("careful", do, tool_class=ONCE, parameters=STRICT),
    MadeTool("forbidden", do),
)

# -- what models say ----------------------------------------------------------------------------

texts = st.text(max_size=20) | st.sampled_from(["", "I look.", "\0", " ", "[Tool: act()]\n"])
valid = st.builds(lambda does: {"does": does}, st.sampled_from(DEEDS))
invalid = st.sampled_from(
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        '{"does": 7}',
        '{"does": "succeed", "more": 1}',
        "{}",
        '{"does": "\\ud800"}',
        "\0",
    ]
)
calls = st.builds(
    ScriptedCall,
    st.sampled_from([*[tool.spec.name for tool in TOOLS] * 3, "nothing", "", "a\0b"]),
    valid | valid | invalid,
    st.sampled_from(["", "", "", "call_1", "same"]),
)
answers = st.builds(
    Answer,
    text=texts,
    thinking=st.none() | texts,
    calls=st.lists(calls, max_size=5).map(tuple),
    fail_after=st.none() | st.none() | st.none() | st.integers(0, 4),
    hang=st.sampled_from([False] * 9 + [True]),
    chunk=st.sampled_from(["word", "char", "whole"]),
)

# -- what people do -----------------------------------------------------------------------------

Deed = Literal[
    "cancel", "steer", "queue", "replace", "approve", "refuse", "edit", "remember", "result", "error", "expire"
]
deeds = st.tuples(
    st.sampled_from([0.0, 0.001, 0.004]),
    st.sampled_from(
        ["cancel", "steer", "queue", "replace", "approve", "refuse", "edit", "remember", "result", "error", "expire"]
    ),
)


class ScriptOfSessions(ScriptedLLM):
    """Gives each session the answers of its own script, then one that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: dict[str, list[Answer]] = {}
        self.problems: list[str] = []

    def _next(self, request: LLMRequest) -> Answer:
        script = self.scripts.get(request.tag)
        return script.pop(0) if script else Answer("Done.")


@dataclass
class Stage:
    """The houses that are open, in a loop of their own; one is used for many sessions."""

    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    houses: dict[str, House] = field(default_factory=dict)
    sessions: int = 0

    def run(self, scene: Coroutine[Any, Any, None]) -> None:
        self.runner.run(scene)

    async def house(self, kind: str) -> House:
        if self.sessions and self.sessions % SESSIONS_PER_HOUSE == 0:
            await self.close()
        self.sessions += 1
        if kind not in self.houses:
            house = self.houses[kind] = House(
                llm=ScriptOfSessions(),
                toolbox=MadeToolbox(*TOOLS, ask=["careful"], deny=["forbidden"]),
                limits=LIMITS,
                agent=AGENTS[kind],
            )
            await house.open()
        return self.houses[kind]

    async def close(self) -> None:
        houses, self.houses = list(self.houses.values()), {}
        for house in houses:
            await house.close()


AGENTS: dict[str, dict[str, Any]] = {
    "asks": {"reasoning": {"max_iterations": 6}},
    "tells": {"reasoning": {"on_unknown": "tell_model", "show_tool_execution": False}},
    "is limited": {"reasoning": {"on_limit": "ask"}, "limits": {"calls": 3, "steps": 4}},
    "stops": {"reasoning": {"on_limit": "stop"}, "limits": {"calls": 4}},
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    with made.runner:
        yield made
        made.runner.run(made.close())


@pytest.mark.timeout(max(60, EXAMPLES))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(
    kind=st.sampled_from(list(AGENTS)),
    script=st.lists(answers, max_size=6),
    people=st.lists(deeds, max_size=6),
    late=st.lists(deeds, max_size=3),
)
def test_random_turns_end_once_with_whole_pairs_and_a_true_ledger(
    stage: Stage,
    caplog_module: list[logging.LogRecord],
    kind: str,
    script: list[Answer],
    people: list[tuple[float, Deed]],
    late: list[tuple[float, Deed]],
) -> None:
    caplog_module.clear()
    stage.run(play(stage, kind, script, people, late))
    assert [record.getMessage() for record in caplog_module if "our fault" in record.getMessage()] == []


@pytest.fixture(scope="module")
def caplog_module() -> Iterator[list[logging.LogRecord]]:
    """What is logged as an error, by example."""
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keeping(logging.ERROR)
    logging.getLogger("app").addHandler(handler)
    yield records
    logging.getLogger("app").removeHandler(handler)


# -- a scene ------------------------------------------------------------------------------------


async def play(
    stage: Stage, kind: str, script: list[Answer], people: list[tuple[float, Deed]], late: list[tuple[float, Deed]]
) -> None:
    house = await stage.house(kind)
    assert isinstance(house.agent.llm, ScriptOfSessions)
    log = await house.session()
    session_id = log.session.session_id
    house.agent.llm.scripts[session_id] = list(script)
    scene = Scene(house, log)
    await scene.send("Go", None)
    for pause, deed in people:
        await asyncio.sleep(pause)
        await scene.do(deed)
    await scene.end()
    for _, deed in late:  # what comes too late changes nothing that is over
        await scene.do(deed)
    await scene.end()
    await scene.check()
    house.agent.llm.scripts[session_id] = [Answer("Fine.")]
    outcome = await (await house.start(log, "And now?")).done
    assert (outcome.state, outcome.text) == (TurnState.COMPLETED, "Fine.")


class Scene:
    """One session, and what people do in it."""

    def __init__(self, house: House, log: SessionLog) -> None:
        self.house = house
        self.log = log
        self.turns: list[OpenTurn] = []
        self._number = 0

    async def send(self, text: str, on_busy: Any) -> None:
        self._number += 1
        options = {} if on_busy is None else {"on_busy": on_busy}
        self.turns.append(await self.house.start(self.log, f"{text} {self._number}", **options))

    async def do(self, deed: Deed) -> None:
        decisions = self.house.decisions
        match deed:
            case "cancel":
                await self.house.stopping.cancel(self.log)
            case "steer" | "queue" | "replace":
                await self.send(deed, deed)
            case "expire":
                self.house.clock.advance(2 * 24 * 3600)
                await decisions.expire()
            case _:
                for act in await self._ledger():
                    if act.state in (ActState.WAITING, ActState.UNKNOWN):
                        await self._decide(act, deed)
                        break

    async def _decide(self, act: Act, deed: str) -> None:
        decisions, log, call_id = self.house.decisions, self.log, act.call_id
        try:
            if act.state is ActState.UNKNOWN:
                again = deed == "edit"
                await decisions.resolve(log, call_id, by="ann", happened=deed != "error" and not again, again=again)
            elif act.waiting_for == "approval":
                edited: dict[str, object] | None = {"does": "succeed"} if deed == "edit" else None
                remember = "session" if deed == "remember" else None
                approved = deed not in ("refuse", "error")
                await decisions.decide(
                    log, call_id, approved=approved, by="ann", arguments=edited, remember=remember if approved else None
                )
            else:
                error = "It was lost." if deed in ("error", "refuse") else None
                await decisions.give_result(log, call_id, by="ann", result="this", error=error)
        except (Conflict, ApprovalExpired, InvalidRequest, NotFound):
            pass  # the turn was faster

    async def end(self) -> None:
        """Have every turn end: people answer what they are asked, and cancel what hangs."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            rounds = 0
            while waiting := [turn for turn in self.turns if not turn.done.done()]:
                await asyncio.wait([turn.done for turn in waiting], timeout=0.004)
                for act in await self._ledger():
                    if act.state in (ActState.WAITING, ActState.UNKNOWN):
                        await self._decide(act, "approve")
                rounds += 1
                if rounds > 10:  # something hangs
                    await self.house.stopping.cancel(self.log, wait_seconds=1)

    async def _ledger(self) -> list[Act]:
        session_id = self.log.session.session_id
        return await self.log.database.read(lambda connection: acts.page(connection, [session_id], limit=500))

    # -- what must be true ----------------------------------------------------------------------

    async def check(self) -> None:
        session_id = self.log.session.session_id
        history = await self.log.database.read(lambda connection: messages.page(connection, session_id, limit=500))
        ledger = await self._ledger()
        frames = [(str(kind), frame) for _, kind, frame in await frames_of(self.house.read(self.log))]
        await self._check_ends(frames)
        check_pairs(history, ledger)
        for act in ledger:
            check_act(act)
        check_texts(frames, history)

    async def _check_ends(self, frames: list[tuple[str, dict[str, Any]]]) -> None:
        ends = Counter([frame["turn_id"] for kind, frame in frames if kind == "turn_finished"])
        assert ends == Counter([turn.turn_id for turn in self.turns])
        for turn in self.turns:
            stored = await self.house.stored(self.log, turn.turn_id)
            outcome = turn.done.result()
            assert stored.state is outcome.state
            assert stored.state in (TurnState.COMPLETED, TurnState.FAILED, TurnState.CANCELLED)


def check_pairs(history: list[Message], ledger: list[Act]) -> None:
    """Every call has exactly one outcome, right behind its message, in order; the ledger has the same calls."""
    owed: list[str] = []
    asked: list[str] = []
    for message in history:
        if message.role == "tool":
            assert owed, f"an outcome without its call: {message}"
            assert message.tool_call_id == owed.pop(0)
            continue
        assert owed == [], f"calls without outcomes: {owed}"
        owed = [call.call_id for call in message.tool_calls]
        asked += owed
    assert owed == []
    assert sorted(asked) == sorted([act.call_id for act in ledger])


def check_act(act: Act) -> None:
    states = [change.state for change in act.changes]
    assert states[0] is ActState.PROPOSED
    assert states[-1] is act.state
    assert all(after in NEXT[before] for before, after in pairwise(states)), states
    assert act.state.is_over or act.state is ActState.UNKNOWN, f"it is {act.state} for ever"
    assert act.is_checkpointed
    if act.state is ActState.SETTLED:
        assert act.name != "forbidden"


def check_texts(frames: list[tuple[str, dict[str, Any]]], history: list[Message]) -> None:
    """What readers are told adds up to what is stored."""
    shown = "".join([frame["chunk"] for kind, frame in frames if kind == "text"])
    assert shown == "".join([message.content for message in history if message.role == "assistant"])
