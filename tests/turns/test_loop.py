"""The loop: steps, acts, outcomes, and what the history and readers have of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.domain.act import Act, ActState
from app.domain.errors import ApprovalExpired, Conflict, InvalidRequest
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.llm.base import LLMRequest, LLMStream
from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM
from app.storage import acts, messages
from app.tools.base import Later, Question, ToolContext, ToolFailed, ToolOutcome, ToolResult, ToolUnknown
from app.tools.rules import Rules
from app.turns.releasing import rule_for
from tests.fixtures.house import House, frames_of, until
from tests.fixtures.tools import IDEMPOTENT, ONCE, READ, MadeTool, MadeToolbox, gated, hang


def calls(*names: str, text: str = "", **arguments: Any) -> Answer:
    return Answer(text, calls=tuple([ScriptedCall(name, arguments) for name in names]))


Open = Callable[..., Any]


@pytest.fixture(params=["file", "postgres"])
async def open_house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[House] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None

    async def make(answers: list[Answer], *tools: MadeTool, agent: dict[str, Any] | None = None, **more: Any) -> House:
        house = House(
            tmp_path / "hector.db" if url is None else None,
            url=url,
            llm=ScriptedLLM(answers=answers),
            toolbox=MadeToolbox(*tools, **more),
            agent=agent,
        )
        await house.open()
        opened.append(house)
        return house

    yield make
    for house in opened:
        await house.close()


async def history(house: House, session_id: str = "s1") -> list[tuple[str, str]]:
    page = await house.database.read(lambda connection: messages.page(connection, session_id, limit=100))
    return [(message.role, message.content) for message in page]


async def ledger(house: House, session_id: str = "s1") -> list[Any]:
    return await house.database.read(lambda connection: acts.page(connection, [session_id], limit=100))


async def test_a_turn_with_a_tool_has_two_answers_and_an_outcome(open_house: Open) -> None:
    write = MadeTool("write")
    house = await open_house([calls("write", text="I write it.", path="a"), Answer("Done.")], write)
    outcome = await (await house.start(await house.session("s1"), "Write a file")).done
    assert (outcome.state, outcome.text) == (TurnState.COMPLETED, "Done.")
    assert await history(house) == [
        ("user", "Write a file"),
        ("assistant", "I write it."),
        ("tool", 'write did {"path":"a"}'),
        ("assistant", "Done."),
    ]
    (act,) = await ledger(house)
    assert (act.state, act.name, act.is_checkpointed) == (ActState.SETTLED, "write", True)
    assert [change.state for change in act.changes] == ["proposed", "approved", "started", "settled"]


async def frames(house: House, session_id: str = "s1") -> list[dict[str, Any]]:
    log = await house.live.open(session_id)
    assert log is not None
    return [frame for _, _, frame in await frames_of(house.read(log))]


def kinds(shown: list[dict[str, Any]]) -> list[str]:
    return [frame.get("type", "text") for frame in shown]


async def test_readers_see_the_call_its_outcome_and_the_text_around_them(open_house: Open) -> None:
    house = await open_house([calls("write", text="I write it.", path="a"), Answer("Done.")], MadeTool("write"))
    await (await house.start(await house.session("s1"), "Write")).done
    shown = await frames(house)
    assert kinds(shown) == [
        "turn_started",
        *["text"] * 3,
        "tool_call",
        "tool_result",
        "text",
        "turn_finished",
    ]
    assert shown[4]["chunk"] == '\n[Tool: write("a")]\n'
    assert shown[4]["tool"]["arguments"] == {"path": "a"}
    assert (shown[5]["status"], shown[5]["result"]) == ("settled", 'write did {"path":"a"}')
    replayed = await house.store.journal.replay("s1", after=0, upto=10_000)
    assert [frame for run in replayed for _, frame in run.frames()] == shown


async def test_a_call_that_ends_while_another_is_settled_is_not_missed(open_house: Open) -> None:
    over = asyncio.Event()
    ticks = 0

    async def at_once(_arguments: dict[str, Any], _context: ToolContext) -> ToolOutcome:
        over.set()
        return ToolResult("first")

    async def later(_arguments: dict[str, Any], _context: ToolContext) -> ToolOutcome:
        await over.wait()
        for _ in range(ticks):  # the outcome of the other call is on its way to the database meanwhile
            await asyncio.sleep(0)
        return ToolResult("second")

    house = await open_house(
        [calls("later", "at_once"), Answer("Done.")], MadeTool("later", later), MadeTool("at_once", at_once)
    )
    for ticks in range(1, 12):
        over.clear()
        run = await house.start(await house.session(f"s{ticks}"), "Both")
        async with asyncio.timeout(10):
            assert (await run.done).text == "Done."


async def test_the_model_is_given_calls_and_outcomes(open_house: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await open_house([calls("write", "read", path="a"), Answer("Done.")], MadeTool("write"), MadeTool("read"))
    asked: list[list[Any]] = []
    stream: Callable[[LLMRequest], LLMStream] = house.agent.llm.stream

    def listening(request: LLMRequest) -> LLMStream:
        asked.append([orjson.loads(message) for message in request.messages])
        began: LLMStream = stream(request)
        return began

    monkeypatch.setattr(house.agent.llm, "stream", listening)
    await (await house.start(await house.session("s1"), "Write")).done
    assert [one["role"] for one in asked[1]] == ["system", "user", "assistant", "tool", "tool"]
    ids = [call["id"] for call in asked[1][2]["tool_calls"]]
    assert [one["tool_call_id"] for one in asked[1][3:]] == ids


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (calls("nothing"), "There is no tool 'nothing'"),
        (Answer(calls=(ScriptedCall("write", "{"),)), "JSON"),
        (Answer(calls=(ScriptedCall("write", {"path": 5, "more": 1}),)), "path"),
    ],
)
async def test_what_cannot_be_called_is_told_and_the_turn_goes_on(open_house: Open, answer: Answer, said: str) -> None:
    schema = {"type": "object", "properties": {"path": {"type": "array"}}, "required": ["path"]}
    tool = MadeTool("write", parameters=schema)
    house = await open_house([answer, Answer("I see.")], tool)
    outcome = await (await house.start(await house.session("s1"), "Write")).done
    assert outcome.text == "I see."
    assert said in (await history(house))[2][1]
    assert tool.runs == []
    assert (await ledger(house))[0].state is ActState.REFUSED


async def test_a_tool_that_fails_is_told_to_the_model(open_house: Open) -> None:
    async def fail(_arguments: dict[str, Any], _context: ToolContext) -> ToolOutcome:
        raise ToolFailed("The disk is full; write less.")

    async def break_(_arguments: dict[str, Any], _context: ToolContext) -> ToolOutcome:
        raise RuntimeError("secret")

    house = await open_house(
        [calls("fail", "break"), Answer("Sorry.")], MadeTool("fail", fail), MadeTool("break", break_)
    )
    outcome = await (await house.start(await house.session("s1"), "Write")).done
    assert outcome.state is TurnState.COMPLETED
    said = [content for role, content in await history(house) if role == "tool"]
    assert said == ["The disk is full; write less.", "The tool failed: RuntimeError"]


async def test_parallel_calls_run_together_and_their_results_keep_the_order(open_house: Open) -> None:
    entered, gate = 0, asyncio.Event()

    async def wait(arguments: dict[str, Any], _context: ToolContext) -> ToolOutcome:
        nonlocal entered
        entered += 1
        await gate.wait()
        if arguments["n"] == 0:
            await asyncio.sleep(0)
        return ToolResult(str(arguments["n"]))

    many = Answer(calls=tuple([ScriptedCall("wait", {"n": n}) for n in range(10)]))
    house = await open_house([many, Answer("Done.")], MadeTool("wait", wait))
    turn = await house.start(await house.session("s1"), "Go")
    await until(lambda: entered == 8)
    gate.set()
    await turn.done
    assert entered == 10
    assert [content for role, content in await history(house) if role == "tool"] == [str(n) for n in range(10)]


async def test_a_step_with_a_refusal_and_a_result_has_both(open_house: Open) -> None:
    house = await open_house([calls("pay", "look"), Answer("Done.")], MadeTool("pay"), MadeTool("look"), deny=["pay"])
    await (await house.start(await house.session("s1"), "Go")).done
    assert [act.state for act in await ledger(house)] == [ActState.REFUSED, ActState.SETTLED]
    assert "not allowed" in (await history(house))[2][1]


async def test_an_approval_is_asked_for_and_the_turn_waits_for_it(open_house: Open) -> None:
    tool = MadeTool("pay")
    house = await open_house([calls("pay", sum=5), Answer("Paid.")], tool, ask=["pay"])
    log = await house.session("s1")
    turn = await house.start(log, "Pay")
    await turn.parked.wait()
    assert tool.runs == []
    assert (await house.stored(log, turn.turn_id)).state is TurnState.WAITING
    assert kinds(await frames(house))[-3:] == ["tool_call", "approval_request", "waiting"]
    (act,) = await ledger(house)
    await house.decisions.decide(log, act.call_id, approved=True, by="ann")
    outcome = await turn.done
    assert (outcome.text, len(tool.runs)) == ("Paid.", 1)
    assert kinds(await frames(house))[-5:] == [
        "approval_decided",
        "resumed",
        "tool_result",
        "text",
        "turn_finished",
    ]
    with pytest.raises(Conflict):
        await house.decisions.decide(log, act.call_id, approved=False, by="bob")


async def test_edited_arguments_are_used_and_the_model_is_told(open_house: Open) -> None:
    tool = MadeTool("pay")
    house = await open_house([calls("pay", sum=500), Answer("Paid.")], tool, ask=["pay"])
    log = await house.session("s1")
    turn = await house.start(log, "Pay")
    await turn.parked.wait()
    (act,) = await ledger(house)
    await house.decisions.decide(log, act.call_id, approved=True, by="ann", arguments={"sum": 5})
    await turn.done
    said = (await history(house))[2][1]
    assert "A person changed the arguments" in said
    assert 'pay did {"sum":5}' in said


async def test_a_refusal_is_a_result_and_the_turn_goes_on(open_house: Open) -> None:
    tool = MadeTool("pay")
    house = await open_house([calls("pay"), Answer("Not paid.")], tool, ask=["pay"])
    log = await house.session("s1")
    turn = await house.start(log, "Pay")
    await turn.parked.wait()
    (act,) = await ledger(house)
    await house.decisions.decide(log, act.call_id, approved=False, by="ann", reason="too much")
    assert (await turn.done).text == "Not paid."
    assert (await history(house))[2][1] == "A person refused this call: too much"
    assert tool.runs == []


async def test_remembering_releases_what_waits_for_the_same(open_house: Open) -> None:
    tool = MadeTool("pay")
    three = Answer(calls=tuple([ScriptedCall("pay", {"n": n}) for n in range(3)]))
    house = await open_house([three, Answer("Paid."), calls("pay", n=9), Answer("Again.")], tool, ask=["pay"])
    log = await house.session("s1")
    turn = await house.start(log, "Pay")
    await turn.parked.wait()
    first = (await ledger(house))[0]
    await house.decisions.decide(log, first.call_id, approved=True, by="ann", remember="session")
    assert (await turn.done).text == "Paid."
    assert len(tool.runs) == 3
    assert (await (await house.start(log, "Once more")).done).text == "Again."


async def test_remembering_for_the_agent_releases_what_waits_in_other_sessions_of_the_user(open_house: Open) -> None:
    tool = MadeTool("pay")
    house = await open_house([calls("pay"), Answer("Paid.")], tool, ask=["pay"])
    logs = [await house.session(f"s{n}", user="ann") for n in range(3)] + [await house.session("s3", user="eve")]
    turns = []
    for log in logs:
        turns.append(await house.start(log, "Pay"))
        await turns[-1].parked.wait()
    (act,) = await house.decisions.page(logs[1], limit=10)

    await house.decisions.decide(logs[1], act.call_id, approved=True, by="ann", remember="agent")

    assert [(await turn.done).text for turn in turns[:3]] == ["Paid."] * 3
    (of_eve,) = await house.decisions.page(logs[3], limit=10)
    (released,) = await house.decisions.page(logs[0], limit=10)
    assert (of_eve.state, released.state) == (ActState.WAITING, ActState.SETTLED)
    assert (released.rule, len(tool.runs)) == ("pay", 3)


async def test_what_waits_in_a_session_that_nobody_has_opened_since_the_start_is_released(open_house: Open) -> None:
    house = await open_house([calls("pay")], MadeTool("pay"), ask=["pay"])
    for name in ("s1", "s2"):
        await (await house.start(await house.session(name), "Pay")).parked.wait()
    await house.kill()
    tool = MadeTool("pay")
    house = await open_house([Answer("Paid.")], tool, ask=["pay"])
    await house.recover()
    (act,) = await ledger(house)

    log = await house.live.open("s1")
    await house.decisions.decide(log, act.call_id, approved=True, by="ann", remember="agent")

    await until(lambda: len(tool.runs) == 2)


async def test_nobody_answers_and_the_model_is_told(open_house: Open) -> None:
    house = await open_house([calls("pay"), Answer("Well.")], MadeTool("pay"), ask=["pay"])
    log = await house.session("s1")
    turn = await house.start(log, "Pay")
    await turn.parked.wait()
    (act,) = await ledger(house)
    house.clock.advance(25 * 3600 * 1000)
    await house.decisions.expire()
    assert (await turn.done).text == "Well."
    with pytest.raises(ApprovalExpired):
        await house.decisions.decide(log, act.call_id, approved=True, by="ann")


async def test_a_waiting_turn_can_be_cancelled_and_the_history_stays_whole(open_house: Open) -> None:
    house = await open_house([calls("pay"), Answer("Well.")], MadeTool("pay"), ask=["pay"])
    log = await house.session("s1")
    turn = await house.start(log, "Pay")
    await turn.parked.wait()
    await house.stopping.cancel(log)
    assert (await turn.done).state is TurnState.CANCELLED
    assert [role for role, _ in await history(house)] == ["user", "assistant", "tool"]
    assert (await ledger(house))[0].state is ActState.CANCELLED
    assert (await (await house.start(log, "Go on")).done).text == "Well."


async def test_a_running_tool_is_stopped_with_its_turn(open_house: Open) -> None:
    tool = MadeTool("hang", hang)
    house = await open_house([calls("hang"), Answer("Well.")], tool)
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await until(lambda: bool(tool.runs))
    await house.stopping.cancel(log)
    assert (await turn.done).state is TurnState.CANCELLED
    assert (await ledger(house))[0].state is ActState.CANCELLED
    assert [role for role, _ in await history(house)] == ["user", "assistant", "tool"]
    assert (await (await house.start(log, "Go on")).done).text == "Well."


async def test_a_result_that_comes_later(open_house: Open) -> None:
    async def later(_arguments: dict[str, Any], _context: ToolContext) -> ToolOutcome:
        return Later("The bank answers tomorrow.")

    house = await open_house([calls("transfer"), Answer("Done.")], MadeTool("transfer", later))
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await turn.parked.wait()
    (act,) = await ledger(house)
    assert (act.state, act.waiting_for) == (ActState.WAITING, "result")
    first = await house.decisions.give_result(log, act.call_id, by="webhook", result={"ok": True})
    again = await house.decisions.give_result(log, act.call_id, by="webhook", result={"ok": True})
    assert first.result == again.result == {"ok": True}
    with pytest.raises(Conflict):
        await house.decisions.give_result(log, act.call_id, by="webhook", result={"ok": False})
    assert (await turn.done).text == "Done."


async def test_a_question_is_answered_and_the_tool_goes_on(open_house: Open) -> None:
    async def ask(_arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        return (
            Question("Which one?", ("a", "b")) if context.answer is None else ToolResult(f"They said {context.answer}")
        )

    house = await open_house([calls("ask"), Answer("Done.")], MadeTool("ask", ask))
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await turn.parked.wait()
    (act,) = await ledger(house)
    assert act.asked == {"question": "Which one?", "choices": ["a", "b"]}
    await house.decisions.give_result(log, act.call_id, by="ann", result="b")
    await turn.done
    assert (await history(house))[2][1] == "They said b"


async def test_the_same_call_again_and_again_ends_the_turn(open_house: Open) -> None:
    tool = MadeTool("look")
    house = await open_house([calls("look")], tool)
    outcome = await (await house.start(await house.session("s1"), "Go")).done
    assert (outcome.state, outcome.reason, len(tool.runs)) == (TurnState.FAILED, "llm_error", 5)
    assert "Do something else" in [content for role, content in await history(house) if role == "tool"][2]


async def test_the_last_step_has_no_tools(open_house: Open) -> None:
    answers = [Answer(calls=(ScriptedCall("look", {"n": n}),)) for n in range(9)]
    house = await open_house(answers, MadeTool("look"), agent={"reasoning": {"max_iterations": 3}})
    turn = await house.start(await house.session("s1"), "Go")
    assert (await turn.done).state is TurnState.COMPLETED
    assert len(await ledger(house)) == 2
    assert "budget" in kinds(await frames(house))


async def test_a_message_steers_the_running_turn(open_house: Open) -> None:
    gate = asyncio.Event()
    tool = MadeTool("wait", gated(gate))
    house = await open_house([calls("wait"), Answer("Shorter, then.")], tool)
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await until(lambda: bool(tool.runs))
    steering = await house.start(log, "Make it short", on_busy="steer")
    gate.set()
    assert (await turn.done).text == "Shorter, then."
    assert (await steering.done).reason == "steered"
    assert [role for role, _ in await history(house)] == ["user", "assistant", "tool", "user", "assistant"]
    assert "message_steered" in kinds(await frames(house))


async def test_a_large_result_is_kept_as_a_whole_and_told_in_part(open_house: Open) -> None:
    async def much(_arguments: dict[str, Any], _context: ToolContext) -> ToolOutcome:
        return ToolResult("x" * 100_000 + "the end")

    house = await open_house([calls("much"), Answer("Done.")], MadeTool("much", much))
    await (await house.start(await house.session("s1"), "Go")).done
    (act,) = await ledger(house)
    told = (await history(house))[2][1]
    assert len(told) < 17_000
    assert told.endswith("the end")
    assert act.result_id is not None
    assert act.result_id in told
    whole = await house.database.read(lambda connection: acts.find_result(connection, "s1", act.result_id))
    assert whole == "x" * 100_000 + "the end"


# -- after a crash -------------------------------------------------------------------------------


async def crashed(first: House, answers: list[Answer], *tools: MadeTool, **reasoning: Any) -> House:
    """A house on the same data, after the process of `first` has died."""
    await first.kill()
    after = House(
        url=first.database.url,
        llm=ScriptedLLM(answers=answers),
        toolbox=MadeToolbox(*tools),
        agent={"reasoning": {"on_crash": "resume"} | reasoning},
        ids=first.ids,
        clock=first.clock,
    )
    await after.open()
    return after


@pytest.mark.parametrize("tool_class", [ONCE, READ, IDEMPOTENT])
async def test_what_ran_when_the_process_died(open_house: Open, tool_class: Any) -> None:
    tool = MadeTool("act", hang, tool_class=tool_class)
    first = await open_house([calls("act", text="I begin.")], tool, agent={"reasoning": {"on_crash": "resume"}})
    log = await first.session("s1")
    await first.start(log, "Go")
    await until(lambda: bool(tool.runs))
    again = MadeTool("act", tool_class=tool_class)
    house = await crashed(first, [Answer("Done.")], again)
    try:
        assert await house.recover() == 0
        log = await house.live.open("s1")
        assert log is not None
        (turn,) = house.history.open_turns(log)
        if tool_class is ONCE:
            await turn.parked.wait()
            await until(lambda: turn.state is TurnState.WAITING and not turn.is_going_on)
            (act,) = await ledger(house)
            assert (act.state, again.runs) == (ActState.UNKNOWN, [])
            await house.decisions.resolve(log, act.call_id, by="ann", happened=True, result="it did")
        else:
            await turn.done
            assert again.runs == tool.runs  # the same key
        assert (await turn.done).text == "Done."
        assert [role for role, _ in await history(house)] == ["user", "assistant", "tool", "assistant"]
    finally:
        await house.close()


async def test_a_turn_that_waits_is_answered_after_a_restart(open_house: Open) -> None:
    first = await open_house([calls("pay")], MadeTool("pay"), ask=["pay"])
    log = await first.session("s1")
    await (await first.start(log, "Go")).parked.wait()
    tool = MadeTool("pay")
    house = await crashed(first, [Answer("Paid.")], tool)
    try:
        assert await house.recover() == 0
        log = await house.live.open("s1")
        assert log is not None
        (turn,) = house.history.open_turns(log)
        assert turn.state is TurnState.WAITING
        (act,) = await ledger(house)
        await house.decisions.decide(log, act.call_id, approved=True, by="ann")
        assert ((await turn.done).text, len(tool.runs)) == ("Paid.", 1)
    finally:
        await house.close()


async def test_an_interrupted_turn_leaves_whole_pairs_and_says_what_is_not_known(open_house: Open) -> None:
    tool = MadeTool("act", hang)
    first = await open_house([calls("act", text="I begin.")], tool)
    await first.start(await first.session("s1"), "Go")
    await until(lambda: bool(tool.runs))
    house = await crashed(first, [Answer("Done.")], tool, on_crash="interrupt")
    try:
        assert await house.recover() == 1
        assert [role for role, _ in await history(house)] == ["user", "assistant", "tool"]
        (act,) = await ledger(house)
        assert act.state is ActState.UNKNOWN
        log = await house.live.open("s1")
        assert log is not None
        await house.decisions.resolve(log, act.call_id, by="ann", happened=False)
        assert (await history(house))[2][1] == "This call did not happen."
        assert (await (await house.start(log, "Go on")).done).text == "Done."
    finally:
        await house.close()


@pytest.mark.parametrize(
    ("name", "arguments", "other", "is_same"),
    [
        ("pay", {"sum": 1}, {"sum": 2}, True),
        ("execute_command", {"command": "git push"}, {"command": "git pull origin"}, True),
        ("execute_command", {"command": "git push"}, {"command": "rm -rf ."}, False),
        ("http_request", {"url": "https://a.example/1"}, {"url": "https://a.example/2"}, False),
        ("http_request", {"url": "https://a.example/1"}, {"url": "https://a.example/1"}, True),
    ],
)
def test_what_a_remembered_answer_is_for(name: str, arguments: Any, other: Any, is_same: bool) -> None:
    act = Act("c", "s", "t", 1, 0, "a", name, ONCE, orjson.dumps(arguments).decode(), ActState.WAITING)
    decision = Rules(ask=[name], remembered=[rule_for(act)]).decide(name, other)
    assert (decision.verdict == "allow") is is_same


# -- budgets -------------------------------------------------------------------------------------


LOOKS = [Answer(calls=(ScriptedCall("look", {"n": n}),)) for n in range(9)]


@pytest.mark.parametrize("limits", [{"calls": 2}, {"tokens": 1}, {"session": {"calls": 2}}, {"session": {"steps": 2}}])
async def test_a_turn_at_its_limit_concludes(open_house: Open, limits: dict[str, Any]) -> None:
    house = await open_house([*LOOKS], MadeTool("look"), agent={"limits": limits})
    turn = await house.start(await house.session("s1"), "Go")
    assert (await turn.done).state is TurnState.COMPLETED
    assert len(await ledger(house)) <= 2
    told = [frame for frame in await frames(house) if frame.get("type") == "budget"]
    assert told[-1]["action"] == "land"


async def test_a_turn_at_its_limit_stops_if_it_is_to(open_house: Open) -> None:
    agent = {"limits": {"calls": 2}, "reasoning": {"on_limit": "stop"}}
    house = await open_house([*LOOKS], MadeTool("look"), agent=agent)
    outcome = await (await house.start(await house.session("s1"), "Go")).done
    assert (outcome.state, outcome.reason) == (TurnState.CANCELLED, "limit_calls")


@pytest.mark.parametrize("approved", [True, False])
async def test_a_turn_at_its_limit_asks_whether_it_goes_on(open_house: Open, approved: bool) -> None:
    agent = {"limits": {"calls": 2}, "reasoning": {"on_limit": "ask"}}
    house = await open_house([*LOOKS[:3], Answer("Done.")], MadeTool("look"), agent=agent)
    log = await house.session("s1")
    turn = await house.start(log, "Go")
    await turn.parked.wait()
    asked = (await ledger(house))[-1]
    assert (asked.name, asked.waiting_for) == ("go_on", "approval")
    await house.decisions.decide(log, asked.call_id, approved=approved, by="ann")
    outcome = await turn.done
    assert outcome.state is TurnState.COMPLETED
    assert [act.name for act in await ledger(house)].count("look") == (3 if approved else 2)


@pytest.mark.parametrize("tool_class", [ONCE, READ])
async def test_a_server_that_is_stopped_hands_its_turns_over(open_house: Open, tool_class: Any) -> None:
    tool = MadeTool("act", hang, tool_class=tool_class)
    first = await open_house([calls("act", text="I begin.")], tool, agent={"reasoning": {"on_crash": "resume"}})
    await first.start(await first.session("s1"), "Go")
    await until(lambda: bool(tool.runs))
    first.shutdown.begin()
    await first.shutdown.finish(grace_seconds=0)
    again = MadeTool("act", tool_class=tool_class)
    house = await crashed(first, [Answer("Done.")], again)
    try:
        assert await house.recover() == 0
        log = await house.live.open("s1")
        assert log is not None
        (turn,) = house.history.open_turns(log)
        assert (await turn.done).text == "Done."
        (act,) = await ledger(house)
        # What must not run twice was stopped, and is known to have been; what may run again did.
        assert act.state is (ActState.CANCELLED if tool_class is ONCE else ActState.SETTLED)
        assert again.runs == ([] if tool_class is ONCE else tool.runs)
    finally:
        await house.close()


@pytest.mark.parametrize(("edited", "said"), [({"sum": "all"}, "does not take"), ({"sum": 7}, "not allowed")])
async def test_edited_arguments_are_checked_like_the_models(
    open_house: Open, edited: dict[str, Any], said: str
) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}}
    tool = MadeTool("pay", parameters=schema)
    house = await open_house([calls("pay", sum=5), Answer("Paid.")], tool, ask=["pay"], deny=["pay(sum=7)"])
    log = await house.session("s1")
    turn = await house.start(log, "Pay")
    await turn.parked.wait()
    (act,) = await ledger(house)
    with pytest.raises(InvalidRequest, match=said):
        await house.decisions.decide(log, act.call_id, approved=True, by="ann", arguments=edited)
    await house.decisions.decide(log, act.call_id, approved=True, by="ann")
    assert (await turn.done).text == "Paid."


@pytest.mark.parametrize("again", [True, False])
async def test_an_unknown_act_is_resolved_while_its_turn_goes_on_without_it(
    open_house: Open, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    async def lose(_arguments: dict[str, Any], _context: ToolContext) -> ToolOutcome:
        raise ToolUnknown("the connection broke")

    agent = {"reasoning": {"on_unknown": "tell_model"}}
    house = await open_house([calls("act"), Answer("I see.")], MadeTool("act", lose, tool_class=ONCE), agent=agent)
    log = await house.session("s1")
    await (await house.start(log, "Go")).done
    (act,) = await ledger(house)
    found: list[Act] = [replace(act, is_checkpointed=False), act, act]

    async def find_early(_log: SessionLog, _call_id: str) -> Act:
        return found.pop(0)  # the first time it was read before the checkpoint

    monkeypatch.setattr(house.decisions, "find", find_early)
    if again:
        with pytest.raises(InvalidRequest, match="gone on without"):
            await house.decisions.resolve(log, act.call_id, by="ann", happened=False, again=True)
    else:
        await house.decisions.resolve(log, act.call_id, by="ann", happened=True, result="it did")
    (act,) = await ledger(house)
    told = (await history(house))[2][1]
    assert act.is_checkpointed
    assert act.state is (ActState.UNKNOWN if again else ActState.SETTLED)
    assert (told == "it did") is not again
