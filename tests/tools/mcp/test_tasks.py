"""Tasks: calls that a server answers with a handle."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.tools.base import Question, Tool, ToolFailed, ToolOutcome, ToolResult, ToolStopped, ToolUnknown
from app.tools.mcp import McpServer
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_servers import Shown, call, lines_of, opened, sdk_server


def job_of(server: McpServer) -> Tool:
    (found,) = [tool for tool in server.tools() if tool.spec.name == "mcp__demo__job"]
    return found


def set_state(folder: Path, **state: Any) -> None:
    path = folder / "next"
    path.write_text(json.dumps(state), encoding="utf-8")
    path.replace(folder / "task-1")


async def polled(folder: Path, times: int = 1) -> None:
    async def is_so() -> bool:
        return len(lines_of(folder / "polls")) >= times

    await eventually(is_so, within=30)


def begun(job: Tool, shown: Shown) -> asyncio.Task[ToolOutcome]:
    return asyncio.create_task(job.run({}, shown.context))


RESULT = {"content": [{"type": "text", "text": "all done"}], "structuredContent": {"n": 3}}


async def test_a_task_is_kept_before_it_is_polled_and_followed_to_its_end(tmp_path: Path) -> None:
    shown = Shown()
    polls_when_kept: list[int] = []
    keep = shown.context.on_keep
    assert keep is not None

    async def noted(kept: dict[str, Any]) -> None:
        polls_when_kept.append(len(lines_of(tmp_path / "polls")))
        await keep(kept)

    shown.context.on_keep = noted
    async with opened(sdk_server(tmp_path)) as server:
        running = begun(job_of(server), shown)
        await polled(tmp_path)
        set_state(tmp_path, status="working", statusMessage="half way")
        await eventually(lambda: _true(shown.texts == ["half way\n"]))
        set_state(tmp_path, status="completed", result=RESULT)
        found = await running

    assert found == ToolResult(text="all done", data={"n": 3})
    assert polls_when_kept == [0]
    assert shown.kept == [{"task": {"id": "task-1", "answered": []}}]


async def test_a_task_survives_a_restart_and_is_not_begun_again(tmp_path: Path) -> None:
    shown = Shown()
    async with opened(sdk_server(tmp_path)) as server:
        running = begun(job_of(server), shown)
        await polled(tmp_path)
        running.cancel()  # as if the process had died
        await asyncio.wait({running})
    kept = shown.context.kept
    set_state(tmp_path, status="completed", result=RESULT)
    async with opened(sdk_server(tmp_path)) as server:
        found = await job_of(server).run({}, Shown(kept=kept).context)

    assert isinstance(found, ToolResult)
    assert found.text == "all done"
    assert lines_of(tmp_path / "jobs") == ["created"]
    assert lines_of(tmp_path / "cancels") == []


async def test_a_task_goes_on_while_its_server_is_away(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        running = begun(job_of(server), Shown())
        await polled(tmp_path)
        with pytest.raises(ToolUnknown):
            await call(server, "crash")
        set_state(tmp_path, status="completed", result=RESULT)
        found = await running

    assert isinstance(found, ToolResult)
    assert found.text == "all done"


async def test_a_stopped_task_is_cancelled_in_the_server(tmp_path: Path) -> None:
    shown = Shown()
    async with opened(sdk_server(tmp_path)) as server:
        running = begun(job_of(server), shown)
        await polled(tmp_path)
        shown.context.stop.set()
        with pytest.raises(ToolStopped):
            await running

    assert lines_of(tmp_path / "cancels") == ["task-1"]


async def test_a_failed_task_and_a_cancelled_one_say_why(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        for state, words in (
            ({"status": "failed", "error": {"code": -1, "message": "out of paper"}}, "failed the task: out of paper"),
            ({"status": "cancelled", "statusMessage": "too late"}, "cancelled the task: too late"),
        ):
            set_state(tmp_path, **state)
            with pytest.raises(ToolFailed, match=words):
                await job_of(server).run({}, Shown(kept={"task": {"id": "task-1"}}).context)


async def test_a_task_that_is_gone_leaves_its_call_unknown(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        with pytest.raises(ToolUnknown, match="tells nothing of the task any more: Task not found"):
            await job_of(server).run({}, Shown(kept={"task": {"id": "task-9"}}).context)


async def test_a_task_asks_a_question_and_goes_on_with_the_answer(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    params = {"mode": "form", "message": "Your name?", "requestedSchema": schema}
    requests = {"name": {"method": "elicitation/create", "params": params}}
    shown = Shown()
    async with opened(sdk_server(tmp_path)) as server:
        running = begun(job_of(server), shown)
        await polled(tmp_path)
        set_state(tmp_path, status="input_required", inputRequests=requests)
        asked = await running
        kept = json.loads(json.dumps(shown.context.kept))
    async with opened(sdk_server(tmp_path)) as server:
        found = await job_of(server).run({}, Shown(kept=kept, answer="Luca").context)

    assert asked == Question("Your name?", schema=schema)
    assert isinstance(found, ToolResult)
    assert found.text == "answered"
    assert [json.loads(line) for line in lines_of(tmp_path / "updates")] == [
        {"name": {"action": "accept", "content": {"name": "Luca"}}}
    ]


async def _true(fact: bool) -> bool:
    return fact
