"""Two servers that others wrote: mcp-server-time over stdio, server-everything over streamable HTTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest_asyncio

from app.tools.base import Question, ToolResult
from app.tools.mcp import McpServer
from tests.clients.tools import NODE_MODULES, PROGRAMS
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_servers import QUICK, Shown, call, free_port, in_state, is_listening, opened

TIME = PROGRAMS / "mcp-server-time"
EVERYTHING = NODE_MODULES / ".bin" / "mcp-server-everything"


@asynccontextmanager
async def everything(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    assert EVERYTHING.exists(), f"{EVERYTHING} is missing; `make install-dev` installs it"
    node = shutil.which("node")
    assert node is not None, "Node is missing; `make install-dev` installs it"
    process = await asyncio.create_subprocess_exec(
        node,
        str(EVERYTHING),
        "streamableHttp",
        env={"PATH": os.environ["PATH"], "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: is_listening(port), within=40)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest_asyncio.fixture
async def clock() -> AsyncIterator[McpServer]:
    assert TIME.exists(), f"{TIME} is missing; `make install-dev` installs it"
    async with opened(McpServer("time", command=str(TIME), limits=QUICK)) as server:
        await in_state(server, "connected")
        yield server


async def test_the_time_is_told(clock: McpServer) -> None:
    zones = {"source_timezone": "Europe/Brussels", "time": "16:30", "target_timezone": "Asia/Tokyo"}
    found = await call(clock, "convert_time", zones)
    wrong = await call(clock, "get_current_time", {"timezone": "Mars/Olympus"})

    assert [tool.spec.name for tool in clock.tools()] == ["mcp__time__convert_time", "mcp__time__get_current_time"]
    assert isinstance(found, ToolResult)
    assert found.data["target"]["timezone"] == "Asia/Tokyo"
    assert isinstance(wrong, ToolResult)
    assert wrong.is_error
    assert "Mars/Olympus" in wrong.text


async def test_a_killed_server_is_back_for_the_next_call(clock: McpServer) -> None:
    (pid,) = children_called(TIME.name)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: _true(clock.status.state != "connected"))
    found = await call(clock, "get_current_time", {"timezone": "UTC"})

    assert isinstance(found, ToolResult)
    assert not found.is_error
    assert children_called(TIME.name) != [pid]


async def test_everything_is_understood() -> None:
    port = free_port()
    async with everything(port), opened(McpServer("all", url=f"http://127.0.0.1:{port}/mcp", limits=QUICK)) as server:
        status = await in_state(server, "connected")
        names = [tool.spec.name for tool in server.tools()]
        total = await call(server, "get-sum", {"a": 1, "b": 2})
        weather = await call(server, "get-structured-content", {"location": "New York"})
        picture = await call(server, "get-tiny-image")
        shown = Shown()
        (operation,) = [tool for tool in server.tools() if tool.spec.name.endswith("long-running-operation")]
        await operation.run({"duration": 1, "steps": 4}, shown.context)

    assert status.protocol == "2025-11-25"
    # Offered only to clients that offer roots or sampling.
    assert not any("roots" in name or "sampling" in name for name in names)
    assert isinstance(total, ToolResult)
    assert total.text == "The sum of 1 and 2 is 3."
    assert isinstance(weather, ToolResult)
    assert set(weather.data) == {"temperature", "conditions", "humidity"}
    assert isinstance(picture, ToolResult)
    assert "[image, image/png, " in picture.text
    assert shown.percents == [25.0, 50.0, 75.0, 100.0]


async def test_a_question_of_everything_is_answered() -> None:
    port = free_port()
    async with everything(port), opened(McpServer("all", url=f"http://127.0.0.1:{port}/mcp", limits=QUICK)) as server:
        await in_state(server, "connected")
        (tool,) = [tool for tool in server.tools() if tool.spec.name == "mcp__all__trigger-elicitation-request"]
        asked = await tool.run({}, Shown().context)
        done = await tool.run({}, Shown(kept={}, answer={"name": "Ada", "check": True}).context)

    assert isinstance(asked, Question)
    assert asked.schema is not None
    assert "name" in asked.schema["properties"]
    assert isinstance(done, ToolResult)
    assert '"name": "Ada"' in done.text


async def test_a_call_that_only_reads_is_made_again_when_everything_was_killed() -> None:
    port = free_port()
    shown = Shown()
    async with opened(McpServer("all", url=f"http://127.0.0.1:{port}/mcp", limits=QUICK)) as server:
        async with everything(port):
            await in_state(server, "connected")
            (tool,) = [tool for tool in server.tools() if tool.spec.name.endswith("long-running-operation")]
            running = asyncio.create_task(tool.run({"duration": 3, "steps": 12}, shown.context))
            await eventually(lambda: _true(bool(shown.percents)))
        async with everything(port):
            found = await running

    assert isinstance(found, ToolResult)
    assert found.text == "Long running operation completed. Duration: 3 seconds, Steps: 12."


def children_called(name: str) -> list[int]:
    """Our own child processes with a program of this name."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes().decode()
        except (OSError, ValueError, IndexError):
            continue
        if parent == os.getpid() and name in command:
            found.append(int(entry.name))
    return found


async def _true(fact: bool) -> bool:
    return fact
