"""Questions of servers, and answers of people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.tools.base import Question, Tool, ToolOutcome, ToolResult, ToolUnknown
from app.tools.mcp.questions import UnfitAnswer, question_of, response_of
from tests.fixtures.mcp_servers import Shown, in_state, lines_of, opened, raw_server, sdk_server

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def named(tools: list[Tool], name: str) -> Tool:
    (found,) = [tool for tool in tools if tool.spec.name.endswith(f"__{name}")]
    return found


async def run(tool: Tool, kept: dict[str, Any] | None = None, answer: Any = None) -> tuple[ToolOutcome, Shown]:
    """One run, as a turn makes it: what was kept comes back with the answer."""
    shown = Shown(kept=kept, answer=answer)
    return await tool.run({}, shown.context), shown


async def test_questions_are_asked_one_by_one_and_the_call_goes_on_with_the_answers(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        order = named(server.tools(), "order")
        first, shown = await run(order)
        second, shown = await run(order, shown.context.kept, "a bicycle")
        done, shown = await run(order, shown.context.kept, {"count": "2"})

    assert isinstance(first, Question)
    assert isinstance(second, Question)
    assert (first.question, second.question) == ("What?", "How many?")
    assert first.schema is not None
    assert first.schema["required"] == ["what"]
    assert isinstance(done, ToolResult)
    answers = {"what": {"what": "a bicycle"}, "count": {"gift": False, "count": 2}}
    assert lines_of(tmp_path / "order") == ["called", "called", f"order-1 {answers}"]
    assert shown.kept == [{"sent": True}]


async def test_an_answer_after_a_restart_goes_on_with_the_call(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        _, shown = await run(named(server.tools(), "order"))
        _, shown = await run(named(server.tools(), "order"), shown.context.kept, {"what": "a book"})
    kept = json.loads(json.dumps(shown.context.kept))
    async with opened(sdk_server(tmp_path)) as server:
        done, _ = await run(named(server.tools(), "order"), kept, {})

    assert isinstance(done, ToolResult)
    assert not done.is_error
    assert len(lines_of(tmp_path / "order")) == 3


async def test_answers_that_were_sent_before_a_crash_are_not_sent_again(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        with pytest.raises(ToolUnknown, match="lost the call in a restart"):
            await run(named(server.tools(), "order"), {"sent": True})

    assert lines_of(tmp_path / "order") == []


async def test_an_answer_that_does_not_fit_is_asked_for_again(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        order = named(server.tools(), "order")
        _, shown = await run(order)
        again, shown = await run(order, shown.context.kept, {"where": "here"})
        second, _ = await run(order, shown.context.kept, {"what": "a book"})

    assert isinstance(again, Question)
    assert "does not fit" in again.question
    assert again.question.endswith("\nWhat?")
    assert isinstance(second, Question)
    assert second.question == "How many?"


async def test_a_server_of_the_older_protocol_waits_with_the_call_open() -> None:
    async with opened(raw_server("asking")) as server:
        await in_state(server, "connected")
        (one,) = server.tools()
        asked, _ = await run(one)
        done, _ = await run(one, {}, "Ghent")

    assert asked == Question("Which city?", schema=CITY)
    assert isinstance(done, ToolResult)
    assert json.loads(done.text) == {"action": "accept", "content": {"city": "Ghent"}}


async def test_declining_is_an_answer() -> None:
    async with opened(raw_server("asking")) as server:
        await in_state(server, "connected")
        (one,) = server.tools()
        await run(one)
        done, _ = await run(one, {}, {"action": "decline"})

    assert isinstance(done, ToolResult)
    assert json.loads(done.text) == {"action": "decline"}


async def test_an_unfit_answer_to_a_server_of_the_older_protocol_is_asked_for_again() -> None:
    async with opened(raw_server("asking")) as server:
        await in_state(server, "connected")
        (one,) = server.tools()
        await run(one)
        again, _ = await run(one, {}, {"town": "Ghent"})
        done, _ = await run(one, {}, {"city": "Ghent"})

    assert isinstance(again, Question)
    assert isinstance(done, ToolResult)


async def test_a_call_that_waited_in_a_server_of_the_older_protocol_is_unknown_after_a_restart() -> None:
    async with opened(raw_server("asking")) as server:
        await in_state(server, "connected")
        await run(server.tools()[0])
    async with opened(raw_server("asking")) as server:
        await in_state(server, "connected")
        with pytest.raises(ToolUnknown, match="lost the call in a restart"):
            await run(server.tools()[0], {}, "Ghent")


async def test_a_question_is_not_asked_when_it_is_not_clear_who_is_meant() -> None:
    async with opened(raw_server("asking")) as server:
        await in_state(server, "connected")
        (one,) = server.tools()
        first, _ = await run(one)
        second = await one.run({}, Shown(call_id="call_2").context)

    assert isinstance(first, Question)
    assert isinstance(second, ToolResult)
    assert "It is not clear which call asks" in second.text


@pytest.mark.parametrize(
    ("params", "answer", "response"),
    [
        ({"requestedSchema": CITY}, {"city": "Ghent"}, {"action": "accept", "content": {"city": "Ghent"}}),
        ({"requestedSchema": CITY}, "Ghent", {"action": "accept", "content": {"city": "Ghent"}}),
        ({"requestedSchema": CITY}, {"action": "cancel"}, {"action": "cancel"}),
        ({}, "yes", {"action": "accept", "content": {}}),
        ({"mode": "url", "url": "https://a/b"}, "done", {"action": "accept"}),
        ({"mode": "url", "url": "https://a/b"}, "decline", {"action": "decline"}),
    ],
)
def test_answers_become_what_servers_want(params: dict[str, Any], answer: object, response: dict[str, Any]) -> None:
    assert response_of(params, answer) == response


@pytest.mark.parametrize("answer", [{"town": "Ghent"}, {"city": {"name": "Ghent"}}])
def test_answers_that_do_not_fit_are_refused(answer: object) -> None:
    with pytest.raises(UnfitAnswer, match="does not fit"):
        response_of({"requestedSchema": CITY}, answer)


def test_an_address_is_shown_with_its_question() -> None:
    found = question_of({"mode": "url", "message": "Sign in", "url": "https://a/b"})
    assert found == Question("Sign in\nhttps://a/b", choices=("done", "decline"))
