"""Answers that are JSON: what a request may ask for, what fits it, and one more attempt for what does not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.domain.turn import Outcome, TurnState
from app.llm.base import LLM, LLMRequest
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM, ScriptedStream
from app.turns.ask import Ask
from app.turns.open_turn import OpenTurn
from app.turns.structured import OBJECT, TEXT, BadFormat, inside, mistakes, ready
from tests.fixtures.house import House, frames_of, until
from tests.fixtures.tools import READ, MadeTool, MadeToolbox, hang
from tests.fixtures.upstream import Upstream

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
FORMAT = ready({"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}})
GOOD = '{"city": "Ulm", "people": 126000}'
BAD = '{"city": "Ulm"}'


# -- what may be asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "inner"),
    [
        ({"json_schema": {"name": "city", "schema": SCHEMA}}, {"name": "city", "schema": SCHEMA}),
        ({"json_schema": {"schema": SCHEMA, "strict": True}}, {"name": "answer", "strict": True, "schema": SCHEMA}),
        ({"schema": SCHEMA}, {"name": "answer", "schema": SCHEMA}),
        ({"json_schema": {"schema": {}, "strict": None}}, {"name": "answer", "schema": {}}),
    ],
)
def test_a_schema_is_taken_in_each_of_its_forms(given: dict[str, Any], inner: dict[str, Any]) -> None:
    assert orjson.loads(ready({"type": "json_schema", **given})) == {"type": "json_schema", "json_schema": inner}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "type: must be"),
        ({"type": "xml"}, "type: must be"),
        ({"type": ["text"]}, "type: must be"),
        ({"type": "json_schema"}, "schema: must be a JSON schema"),
        ({"type": "json_schema", "json_schema": 5}, "json_schema: must be an object"),
        ({"type": "json_schema", "json_schema": {"schema": True}}, "schema: must be a JSON schema"),
        ({"type": "json_schema", "schema": {"type": "objekt"}}, "schema: is no JSON schema: .*objekt"),
        ({"type": "json_schema", "schema": {"required": "city"}}, "schema: is no JSON schema"),
        ({"type": "json_schema", "schema": {}, "name": "a b"}, "name: must be"),
        ({"type": "json_schema", "schema": {}, "strict": "yes"}, "strict: must be"),
        ({"type": "json_schema", "schema": {}, "description": 5}, "description: must be"),
    ],
)
def test_what_is_no_format_is_refused_with_what_is_wrong(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadFormat, match=problem):
        ready(given)


# -- what fits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [GOOD, f"\n {GOOD} \n", f"```json\n{GOOD}\n```", f"```\n{GOOD}```\n"])
def test_blanks_and_a_fence_around_json_are_taken(text: str) -> None:
    assert inside(text) == GOOD
    assert mistakes(FORMAT, text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("Ulm has many people.", "it is no JSON: Expecting value at line 1, column 1"),
        (f"Here it is: {GOOD}", "it is no JSON"),
        (f"```python\n{GOOD}\n```", "it is no JSON"),
        (f"{GOOD} {GOOD}", "it is no JSON: Extra data"),
        ('{"city": "Ulm", "people": NaN}', "it is no JSON: there is no number NaN"),
        ('{"city": "Ulm", "people": 1e999}', "it is no JSON: a number is too large"),
        ('{"city": "a\nb", "people": 1}', "it is no JSON: Invalid control character"),
        ('{"city": "Ulm", "people": ' + "1" * 5000 + "}", "it is no JSON"),
        ("[" * 100_000, "nested too deeply|no JSON"),
        ("[]", "it must be an object"),
        (BAD, "it lacks `people`"),
        ('{"city": "Ulm", "people": "many"}', "people must be"),
        ('{"city": "Ulm", "people": "5"}', "people must be"),
        ('{"city": "Ulm", "people": 5, "mayor": 1}', "cannot have `mayor`"),
    ],
)
def test_what_does_not_fit_is_said(text: str, problem: str) -> None:
    [found] = mistakes(FORMAT, text)
    assert re.search(problem, found)


def test_every_mistake_is_said() -> None:
    assert len(mistakes(FORMAT, '{"city": 5, "people": "many"}')) == 2


def test_a_whole_number_may_be_written_with_a_fraction() -> None:
    assert mistakes(FORMAT, '{"city": "Ulm", "people": 5.0}') == []


def test_an_object_of_any_form_has_to_be_an_object() -> None:
    assert mistakes(OBJECT, '{"a": [1]}') == []
    assert mistakes(OBJECT, "[1]") == ["it must be a JSON object, not a list"]


# -- turns ----------------------------------------------------------------------------------------------------------

Open = Callable[..., Any]


class Listening(ScriptedLLM):
    """A scripted model that keeps what it was asked."""

    def __init__(self, *answers: Answer | str) -> None:
        super().__init__(answers=[Answer(one) if isinstance(one, str) else one for one in answers])
        self.requests: list[LLMRequest] = []

    def stream(self, request: LLMRequest) -> ScriptedStream:
        self.requests.append(request)
        return super().stream(request)

    def messages(self, number: int) -> list[dict[str, Any]]:
        return [orjson.loads(message) for message in self.requests[number].messages]


@pytest.fixture(params=["file", "postgres"])
async def open_house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[House] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None

    async def make(llm: LLM, *tools: MadeTool, schema: dict[str, Any] | None = None, **agent: Any) -> House:
        file = tmp_path / "hector.db" if url is None else None
        house = House(file, url=url, llm=llm, toolbox=MadeToolbox(*tools) if tools else None, agent=agent)
        if schema is not None:
            wanted = ready({"type": "json_schema", "schema": schema})
            house.agent = replace(house.agent, response_format=wanted)
            house.roster.replace({"assistant": house.agent})
        await house.open()
        opened.append(house)
        return house

    yield make
    for house in opened:
        await house.close()
        await house.agent.llm.close()


async def start(house: House, text: str = "Which city?", response_format: bytes | None = FORMAT) -> OpenTurn:
    log = await house.live.open("s1") or await house.session("s1")
    ask = Ask(text, response_format=response_format)
    return await house.admission.start(log, house.agent, ask, grace_seconds=None)


async def outcome_of(house: House, response_format: bytes | None = FORMAT) -> Outcome:
    return await (await start(house, response_format=response_format)).done


async def texts(house: House) -> list[tuple[str, str, str]]:
    return await house.texts(await house.session("s1"))


async def test_an_answer_that_fits_is_asked_for_once(open_house: Open) -> None:
    llm = Listening(GOOD)
    house = await open_house(llm)
    outcome = await outcome_of(house)
    assert (outcome.state, outcome.text) == (TurnState.COMPLETED, GOOD)
    assert [request.response_format for request in llm.requests] == [FORMAT]


async def test_an_answer_that_does_not_fit_is_asked_for_again_and_gives_way(open_house: Open) -> None:
    llm = Listening(BAD, GOOD, "I see.")
    house = await open_house(llm)
    outcome = await outcome_of(house)
    assert (outcome.state, outcome.text) == (TurnState.COMPLETED, GOOD)
    assert await texts(house) == [
        ("user", "completed", "Which city?"),
        ("assistant", "replaced", BAD),
        ("assistant", "completed", GOOD),
    ]
    *_, said, note = llm.messages(1)
    assert said == {"role": "assistant", "content": BAD}
    assert note["role"] == "user"
    assert "it lacks `people`" in note["content"]
    assert orjson.dumps(SCHEMA).decode() in note["content"]
    assert llm.requests[1].response_format == FORMAT
    assert outcome.usage is not None
    assert outcome.usage.completion_tokens == llm.count_tokens(BAD) + llm.count_tokens(GOOD)
    await (await start(house, "And then?", None)).done
    assert [message["content"] for message in llm.messages(2)[1:]] == ["Which city?", GOOD, "And then?"]
    assert llm.requests[2].response_format is None


async def test_the_text_that_readers_get_is_that_of_the_messages_in_order(open_house: Open) -> None:
    house = await open_house(Listening(BAD, GOOD))
    await outcome_of(house)
    log = await house.session("s1")
    shown = [frame for _, _, frame in await frames_of(house.read(log))]
    said = [frame["chunk"] for frame in shown if "type" not in frame]
    assert "".join(said) == BAD + GOOD
    replayed = await house.store.journal.replay("s1", after=0, upto=10_000)
    assert [frame for run in replayed for _, frame in run.frames()] == shown


async def test_a_second_answer_that_does_not_fit_ends_the_turn(open_house: Open) -> None:
    llm = Listening("Ulm.", BAD, GOOD)
    house = await open_house(llm)
    outcome = await outcome_of(house)
    assert (outcome.state, outcome.reason, outcome.text) == (TurnState.FAILED, "llm_error", BAD)
    assert outcome.failure is not None
    assert "it lacks `people`" in outcome.failure.message
    assert outcome.usage is not None
    assert llm.asked == 2
    assert [status for _, status, _ in await texts(house)] == ["completed", "replaced", "failed"]


async def test_a_model_that_says_nothing_is_asked_again(open_house: Open) -> None:
    house = await open_house(Listening("", GOOD))
    assert (await outcome_of(house)).text == GOOD
    assert [role for role, _, _ in await texts(house)] == ["user", "assistant"]


async def test_an_answer_that_was_cut_is_asked_for_in_fewer_words(open_house: Open, upstream: Upstream) -> None:
    upstream.answer(tokens=['{"city": "'], finish="length")
    upstream.answer(tokens=[GOOD])
    house = await open_house(OpenAICompatible("main", OpenAISettings(model="m", base_url=upstream.base_url)))
    assert (await outcome_of(house)).text == GOOD
    assert "cut off at the limit of its length" in upstream.requests[1].json["messages"][-1]["content"]


async def test_the_schema_of_the_agent_holds_where_a_request_says_nothing(open_house: Open) -> None:
    llm = Listening(GOOD, "Ulm.")
    house = await open_house(llm, schema=SCHEMA)
    assert (await outcome_of(house, None)).text == GOOD
    assert (await outcome_of(house, TEXT)).text == "Ulm."
    assert [request.response_format is None for request in llm.requests] == [False, True]


async def test_with_tools_only_the_last_answer_has_to_fit(open_house: Open) -> None:
    look = Answer("I look.", calls=(ScriptedCall("look", {}),))
    llm = Listening(look, BAD, look, GOOD)
    house = await open_house(llm, MadeTool("look"))
    assert (await outcome_of(house)).text == GOOD
    said = [(role, status, text) for role, status, text in await texts(house) if role == "assistant"]
    assert said == [
        ("assistant", "completed", "I look."),
        ("assistant", "replaced", BAD),
        ("assistant", "completed", "I look."),
        ("assistant", "completed", GOOD),
    ]
    assert all(request.response_format == FORMAT and request.tools for request in llm.requests)


async def test_the_last_step_of_a_turn_may_be_mended_too(open_house: Open) -> None:
    llm = Listening(Answer(calls=(ScriptedCall("look", {}),)), BAD, GOOD)
    house = await open_house(llm, MadeTool("look"), reasoning={"max_iterations": 2})
    assert (await outcome_of(house)).text == GOOD
    log = await house.session("s1")
    budgets = [frame["action"] for _, _, frame in await frames_of(house.read(log)) if frame.get("type") == "budget"]
    assert budgets == ["land"]


async def test_a_queued_turn_keeps_its_format_over_a_restart(tmp_path: Path) -> None:
    before = House(tmp_path / "hector.db", llm=ScriptedLLM(answers=[Answer("x", hang=True)]))
    await before.open()
    await start(before, "one", None)
    queued = await start(before, "two")
    assert queued.state is TurnState.QUEUED
    await before.kill()
    llm = Listening(GOOD)
    after = House(tmp_path / "hector.db", llm=llm, ids=before.ids)
    await after.open()
    try:
        await after.recover()
        log = await after.session("s1")
        found = await after.history.find(log, queued.turn_id)
        if isinstance(found, OpenTurn):
            await found.done
        assert [request.response_format for request in llm.requests] == [FORMAT]
    finally:
        await after.close()


async def test_a_turn_that_goes_on_after_a_crash_keeps_its_format(tmp_path: Path) -> None:
    agent = {"reasoning": {"on_crash": "resume"}}
    tool = MadeTool("look", hang, tool_class=READ)
    script = ScriptedLLM(answers=[Answer(BAD), Answer(calls=(ScriptedCall("look", {}),))])
    before = House(tmp_path / "hector.db", llm=script, agent=agent, toolbox=MadeToolbox(tool))
    await before.open()
    turn = await start(before)
    await until(lambda: bool(tool.runs))
    await before.kill()
    llm = Listening(GOOD)
    after = House(
        tmp_path / "hector.db",
        llm=llm,
        agent=agent,
        toolbox=MadeToolbox(MadeTool("look", tool_class=READ)),
        ids=before.ids,
    )
    await after.open()
    try:
        await after.recover()
        log = await after.session("s1")
        found = await after.history.find(log, turn.turn_id)
        assert isinstance(found, OpenTurn)
        assert (await found.done).text == GOOD
        assert llm.requests[0].response_format == FORMAT
        assert all(message.get("content") != BAD for message in llm.messages(0))
    finally:
        await after.close()


# -- providers ------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def test_a_provider_that_refuses_the_format_is_told_of_it_in_words(open_house: Open, upstream: Upstream) -> None:
    refusal = orjson.dumps({"error": {"message": "unknown field response_format"}})
    upstream.answer(status=400, body=refusal)
    upstream.answer(tokens=[GOOD])
    upstream.answer(tokens=[BAD])
    upstream.answer(tokens=[GOOD])
    house = await open_house(OpenAICompatible("main", OpenAISettings(model="m", base_url=upstream.base_url)))
    assert (await outcome_of(house)).text == GOOD
    assert (await outcome_of(house)).text == GOOD
    first, *others = [seen.json for seen in upstream.requests]
    assert first["response_format"] == orjson.loads(FORMAT)
    assert len(others) == 3
    for body in others:
        assert "response_format" not in body
        assert body["messages"][0]["role"] == "system"
        assert orjson.dumps(SCHEMA).decode() in body["messages"][0]["content"]
        assert body["messages"][0]["content"].startswith("You are a helpful assistant.")
