"""The list of what is to be done: validated, shown, kept by nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.tools.arguments import BadArguments, parse
from app.tools.base import ToolContext, ToolFailed, ToolResult
from app.tools.todos import MAX_TODOS, TodoWrite, checklist, open_todos

CONTEXT = ToolContext("c", "s", "t", "a", "p", "u")


def todo(number: object, status: str = "pending", content: str = "Write") -> dict[str, Any]:
    return {"id": str(number), "content": content, "status": status}


async def write(todos: object) -> ToolResult:
    tool = TodoWrite()
    return await tool.run(parse(json.dumps({"todos": todos}), tool.spec.parameters), CONTEXT)


async def test_the_list_is_shown_as_a_checklist_and_returned() -> None:
    todos = [todo(1, "completed"), todo(2, "in_progress", "Run"), todo(3, content="Tell"), todo(4, "cancelled", "Rest")]
    result = await write(todos)
    assert result.text == "[x] Write\n[>] Run\n[ ] Tell\n[-] Rest"
    assert result.data == todos
    assert open_todos(todos) == [todos[1], todos[2]]


async def test_an_empty_list_is_a_list() -> None:
    assert await write([]) == ToolResult("The list is empty.", [])


async def test_numbers_are_taken_as_ids_and_a_list_as_text() -> None:
    assert (await write(json.dumps([todo(1) | {"id": 1}]))).data == [todo(1)]


@pytest.mark.parametrize(
    "todos",
    [
        [{"id": "1", "content": "a"}],
        [todo(1, "done")],
        [todo(1, content="")],
        [todo(1, content="x" * 1_001)],
        [todo(1) | {"priority": 1}],
        [todo(n) for n in range(MAX_TODOS + 1)],
        "tomorrow",
    ],
)
async def test_what_is_no_list_of_todos_is_refused(todos: object) -> None:
    with pytest.raises(BadArguments):
        await write(todos)


async def test_an_id_may_stand_there_once() -> None:
    with pytest.raises(ToolFailed, match="'1'"):
        await write([todo(1), todo(2), todo(1)])


def test_a_checklist_has_one_line_for_each_entry() -> None:
    assert checklist([todo(1, content="a\nb\x1b[2J")]) == "[ ] a\\nb\\x1b[2J"
