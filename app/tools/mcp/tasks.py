"""Requests of the extension `io.modelcontextprotocol/tasks` (protocol 2026-07-28): a handle instead of a result.

The SDK knows no extension by itself; it lets a client declare one and send requests of its own making.
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn

from mcp import types
from mcp.client.extension import ResultClaim

EXTENSION = "io.modelcontextprotocol/tasks"
UNKNOWN_TASK = types.INVALID_PARAMS


class TaskParams(types.RequestParams):
    task_id: str


class UpdateParams(TaskParams):
    input_responses: dict[str, Any]


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    name_param = "taskId"


class UpdateTask(types.Request[UpdateParams, Literal["tasks/update"]]):
    method: Literal["tasks/update"] = "tasks/update"
    name_param = "taskId"


class CancelTask(types.Request[TaskParams, Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    name_param = "taskId"


class TaskCreated(types.Result):
    result_type: Literal["task"] = "task"
    task_id: str


async def _never(created: TaskCreated, context: Any) -> NoReturn:
    raise AssertionError("results are read as they came; the SDK resolves none")


CLAIM = ResultClaim(result_type="task", model=TaskCreated, resolve=_never)
"""With it the SDK declares the extension to servers of the newest protocol, and to no others."""
