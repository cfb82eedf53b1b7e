"""`todo_write`: a model writes down what is to be done. The newest call is the list; the tool keeps nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.domain.act import ToolClass
from app.observability import neutral
from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolSpec

NAME = "todo_write"
MAX_TODOS = 100
MAX_CONTENT = 1_000
"""Characters of one entry."""
MARKS = {"pending": "[ ]", "in_progress": "[>]", "completed": "[x]", "cancelled": "[-]"}

SPEC = ToolSpec(
    NAME,
    "Write the list of what is to be done in this task, all of it: it replaces the list before. Use it for work of"
    " several steps, and keep the status of each entry up to date.",
    {
        "type": "object",
        "properties": {
            "todos": {
                "type": "array",
                "maxItems": MAX_TODOS,
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "minLength": 1, "maxLength": 64},
                        "content": {"type": "string", "minLength": 1, "maxLength": MAX_CONTENT},
                        "status": {"type": "string", "enum": list(MARKS)},
                    },
                    "required": ["id", "content", "status"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["todos"],
        "additionalProperties": False,
    },
    ToolClass.IDEMPOTENT,
)


class TodoWrite:
    spec = SPEC

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        todos: list[dict[str, Any]] = arguments["todos"]
        ids = [todo["id"] for todo in todos]
        twice = sorted({todo_id for todo_id in ids if ids.count(todo_id) > 1})
        if twice:
            raise ToolFailed(f"These ids stand in the list twice: {', '.join(map(repr, twice))}. Give each its own.")
        return ToolResult(checklist(todos) or "The list is empty.", todos)


def checklist(todos: Iterable[Mapping[str, Any]]) -> str:
    """The list as a terminal shows it, an entry a line: `[ ]` open, `[>]` begun, `[x]` done, `[-]` given up."""
    return "\n".join(f"{MARKS[todo['status']]} {neutral.escape(todo['content'])}" for todo in todos)


def open_todos(todos: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries that are still to be done."""
    return [todo for todo in todos if todo["status"] in ("pending", "in_progress")]
