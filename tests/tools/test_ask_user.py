"""Questions for people: asked, answered, asked again if the answer does not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.tools.arguments import BadArguments, parse
from app.tools.ask_user import MAX_ANSWER, AskUser, check_answer
from app.tools.base import Question, ToolContext, ToolFailed, ToolOutcome, ToolResult

FORM = {
    "type": "object",
    "properties": {"day": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
    "required": ["day", "people"],
}


async def ask(answer: Any = None, **arguments: Any) -> ToolOutcome:
    tool = AskUser()
    context = ToolContext("c", "s", "t", "a", "p", "u", answer=answer)
    return await tool.run(parse(json.dumps({"question": "Which?"} | arguments), tool.spec.parameters), context)


async def test_a_question_waits_for_its_answer() -> None:
    assert await ask() == Question("Which?")
    assert await ask(choices=["red", "blue"]) == Question("Which?", ("red", "blue"))
    assert await ask(schema=FORM) == Question("Which?", schema=FORM)


async def test_any_text_answers_an_open_question() -> None:
    assert await ask("The red one.") == ToolResult("The red one.", "The red one.")
    assert isinstance(await ask("  "), Question)


async def test_a_choice_is_one_of_the_choices() -> None:
    assert await ask(" RED ", choices=["Red", "Blue"]) == ToolResult("Red", "Red")
    for answer in ("green", 1, ["Red"], {"a": 1}, ""):
        again = await ask(answer, choices=["Red", "Blue"])
        assert again == Question("Which?\n\nThe answer must be one of: Red, Blue.", ("Red", "Blue"))


@pytest.mark.parametrize("answer", [{"day": "Monday", "people": "2"}, '{"day": "Monday", "people": 2}'])
async def test_a_form_is_filled_in_as_its_schema_says(answer: object) -> None:
    result = await ask(answer, schema=FORM)
    assert result == ToolResult('{"day": "Monday", "people": 2}', {"day": "Monday", "people": 2})


async def test_a_form_that_does_not_fit_is_asked_again_with_what_is_wrong() -> None:
    again = await ask({"people": 0}, schema=FORM)
    assert isinstance(again, Question)
    assert again.schema == FORM
    assert again.question.startswith("Which?\n\nThe answer does not fit: ")
    assert "people must be at least 1, not 0" in again.question
    assert "it lacks `day`" in again.question
    assert isinstance(await ask("on Monday", schema=FORM), Question)


async def test_a_schema_may_want_a_text_or_a_number() -> None:
    assert await ask("5", schema={"type": "string"}) == ToolResult("5", "5")
    assert await ask("5", schema={"type": "integer"}) == ToolResult("5", 5)
    assert await ask(False, schema={"type": "boolean"}) == ToolResult("false", False)


async def test_a_question_that_cannot_be_asked_is_told_to_the_model() -> None:
    with pytest.raises(ToolFailed, match="not with both"):
        await ask(choices=["a"], schema=FORM)
    with pytest.raises(ToolFailed, match="no JSON schema"):
        await ask(schema={"type": "wat"})
    wrong: list[dict[str, Any]] = [
        {"choices": []},
        {"choices": ["a", "a"]},
        {"choices": [""]},
        {"question": ""},
        {"schema": "form"},
    ]
    for bad in wrong:
        with pytest.raises(BadArguments):
            await ask(**bad)


def test_an_answer_has_a_limit() -> None:
    with pytest.raises(BadArguments, match="longer than"):
        check_answer(Question("Which?"), "x" * MAX_ANSWER)
