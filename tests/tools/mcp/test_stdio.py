"""Servers that are child processes: calls, crashes, hangs, ends."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from app.domain.act import ToolClass
from app.tools.base import ToolFailed, ToolResult, ToolStopped, ToolUnknown
from app.tools.mcp import Limits, McpServer
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_servers import QUICK, Shown, call, in_state, is_alive, lines_of, opened, raw_server, sdk_server


async def test_a_call_gives_text_and_data(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        found = await call(server, "add", {"a": 2, "b": 3})
        status = server.status

    assert found == ToolResult(text="5", data={"result": 5})
    assert (status.state, status.protocol, status.software) == ("connected", "2026-07-28", "sdk-server 7.1")
    assert server.status.state == "closed"


async def test_a_tool_has_its_class_and_reach_from_its_hints(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        specs = {tool.spec.name: tool.spec for tool in server.tools()}

    assert list(specs) == sorted(specs)
    add, key, fail = specs["mcp__demo__add"], specs["mcp__demo__key"], specs["mcp__demo__fail"]
    assert [spec.tool_class for spec in (add, key, fail)] == [ToolClass.READ, ToolClass.IDEMPOTENT, ToolClass.ONCE]
    assert (add.reads, add.sends, fail.reads, fail.sends) == ("fixed", "fixed", "open", "open")
    assert (add.source, add.description) == ("mcp:demo", "Add two numbers.")
    assert add.parameters["required"] == ["a", "b"]


async def test_a_failure_of_a_tool_is_a_result_with_its_words(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        found = await call(server, "fail")

    assert isinstance(found, ToolResult)
    assert found.is_error
    assert "fail" in found.text


async def test_a_call_carries_its_key(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        found = await call(server, "key", idempotency_key="k-17")

    assert isinstance(found, ToolResult)
    assert found.text == "k-17"


async def test_progress_is_shown_while_the_call_runs(tmp_path: Path) -> None:
    shown = Shown()
    async with opened(sdk_server(tmp_path)) as server:
        (slow,) = [tool for tool in server.tools() if tool.spec.name == "mcp__demo__slow"]
        found = await slow.run({"steps": 2, "seconds": 0.2}, shown.context)

    assert isinstance(found, ToolResult)
    assert shown.texts == ["step 1\n", "step 2\n"]
    assert shown.percents == [50.0, 100.0]


async def test_a_stopped_call_is_cancelled_in_the_server(tmp_path: Path) -> None:
    shown = Shown()
    async with opened(sdk_server(tmp_path)) as server:
        (slow,) = [tool for tool in server.tools() if tool.spec.name == "mcp__demo__slow"]
        running = asyncio.create_task(slow.run({"steps": 100, "seconds": 1}, shown.context))
        await eventually(lambda: _has_lines(tmp_path / "slow", 1))
        shown.context.stop.set()
        with pytest.raises(ToolStopped):
            await running
        await eventually(lambda: _has_lines(tmp_path / "cancelled", 1))
        again = await call(server, "add", {"a": 1, "b": 1})

    assert isinstance(again, ToolResult)
    assert again.text == "2"


async def test_a_call_of_a_silent_server_is_given_up(tmp_path: Path) -> None:
    async with opened(raw_server("mute", tool_timeout=0.3)) as server:
        with pytest.raises(ToolUnknown, match=r"did not answer within 0\.3 s"):
            await call(server, "one")


async def test_progress_keeps_a_long_call_alive(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path, tool_timeout=1.0)) as server:
        found = await call(server, "slow", {"steps": 4, "seconds": 0.5})

    assert isinstance(found, ToolResult)
    assert found.text == "4 steps"


async def test_a_server_that_dies_in_mid_call_leaves_it_unknown_and_comes_back(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        with pytest.raises(ToolUnknown, match="MCP server 'demo' ended"):
            await call(server, "crash")
        found = await call(server, "add", {"a": 1, "b": 2})

    assert isinstance(found, ToolResult)
    assert found.text == "3"
    assert lines_of(tmp_path / "crash") == ["begun"]
    assert len(lines_of(tmp_path / "starts")) == 2


async def test_a_call_that_only_reads_is_made_again_when_its_server_died(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        found = await call(server, "crash_reading")

    assert isinstance(found, ToolResult)
    assert found.text == "done at last"
    assert lines_of(tmp_path / "crash_reading") == ["begun", "begun"]


async def test_calls_run_at_the_same_time(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        begun = time.monotonic()
        found = await asyncio.gather(*[call(server, "slow", {"steps": 1, "seconds": 0.5}) for _ in range(8)])
        took = time.monotonic() - begun

    assert [result.text for result in found if isinstance(result, ToolResult)] == ["1 steps"] * 8
    assert took < 8 * 0.5


async def test_a_silent_server_does_not_hold_up_the_start(tmp_path: Path) -> None:
    server = raw_server("silent", str(tmp_path), limits=Limits(exit_timeout=0.3), connect_timeout=0.5)
    begun = time.monotonic()
    async with opened(server):
        took = time.monotonic() - begun
        assert server.tools() == []
        assert server.status.state == "connecting"

    assert took < 2.0
    assert not any(is_alive(int(pid)) for pid in lines_of(tmp_path / "starts"))


async def test_a_silent_server_is_broken_after_its_time_and_tried_again(tmp_path: Path) -> None:
    limits = Limits(handshake_timeout=0.5, probe_timeout=0.2, retry_min=0.02, retry_max=0.1, exit_timeout=0.1)
    async with opened(raw_server("silent", str(tmp_path), limits=limits)) as server:
        status = await in_state(server, "broken")
        await eventually(lambda: _has_lines(tmp_path / "starts", 3))

    assert status.why == "MCP server 'raw' does not answer"
    assert not any(is_alive(int(pid)) for pid in lines_of(tmp_path / "starts"))


async def test_a_missing_program_is_told_and_its_calls_would_fail() -> None:
    server = McpServer("gone", command="/no/such/program", limits=QUICK)
    async with opened(server):
        status = await in_state(server, "broken")

    assert status.why == "MCP server 'gone' cannot be started: No such file or directory: '/no/such/program'"
    assert server.tools() == []


async def test_tools_stay_while_their_server_is_away_and_their_calls_say_why(tmp_path: Path) -> None:
    server = sdk_server(tmp_path, limits=Limits(retry_min=60, retry_max=60, exit_timeout=0.3), connect_timeout=20)
    async with opened(server):
        tools = server.tools()
        (add,) = [tool for tool in tools if tool.spec.name == "mcp__demo__add"]
        with pytest.raises(ToolUnknown):
            await call(server, "crash")
        away = [tool.spec.name for tool in server.tools()]
        await server.close()
        with pytest.raises(ToolFailed, match="MCP server 'demo' is not connected: it is closed"):
            await add.run({"a": 1, "b": 2}, Shown().context)

    assert away == [tool.spec.name for tool in tools]


async def test_a_child_gets_no_variables_but_those_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with opened(sdk_server(tmp_path, env={"CITY": "Ghent"})) as server:
        found = await call(server, "environment")

    assert isinstance(found, ToolResult)
    environment = found.data.get("result", found.data)
    assert environment["CITY"] == "Ghent"
    assert "PATH" in environment
    assert not any("sk-secret" in value for value in environment.values())


async def test_what_a_server_says_on_standard_error_goes_to_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="app.tools.mcp"):
        async with opened(sdk_server(tmp_path)):
            pass

    assert "hello from the server" in caplog.text


async def test_the_end_takes_children_and_daemons_along(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        found = await call(server, "children")
        assert isinstance(found, ToolResult)
        pids = found.data["result"]
        assert all(is_alive(pid) for pid in pids)

    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


async def test_a_stubborn_server_is_killed(tmp_path: Path) -> None:
    async with opened(raw_server("stubborn", str(tmp_path))) as server:
        await in_state(server, "connected")
        begun = time.monotonic()
    took = time.monotonic() - begun

    assert not any(is_alive(int(pid)) for pid in lines_of(tmp_path / "starts"))
    assert took < 10


async def test_a_server_that_reads_nothing_any_more_does_not_hold_up_a_stop() -> None:
    shown = Shown()
    async with opened(raw_server("deaf")) as server:
        (one,) = server.tools()
        running = asyncio.create_task(one.run({"text": "x" * 1_000_000}, shown.context))
        filling = [asyncio.create_task(one.run({"text": "x" * 1_000_000}, shown.context)) for _ in range(3)]
        await asyncio.sleep(0.1)  # nobody announces that a pipe is full
        shown.context.stop.set()
        for task in (running, *filling):
            with pytest.raises(ToolStopped):
                await task


async def _has_lines(path: Path, count: int) -> bool:
    return len(lines_of(path)) >= count
