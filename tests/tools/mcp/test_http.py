"""Servers behind an address: streamable HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from app.tools.base import ToolFailed, ToolResult, ToolStopped, ToolUnknown
from app.tools.mcp import Limits, McpServer
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_servers import QUICK, HttpServer, Shown, call, in_state, lines_of, opened


@pytest_asyncio.fixture
async def http_server(tmp_path: Path) -> AsyncIterator[HttpServer]:
    server = HttpServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


def client(url: str, limits: Limits = QUICK, **headers: str) -> McpServer:
    return McpServer("web", url=url, headers=headers, limits=limits)


async def test_a_call_over_http(http_server: HttpServer) -> None:
    async with opened(client(http_server.url)) as server:
        found = await call(server, "add", {"a": 2, "b": 3})
        status = server.status

    assert found == ToolResult(text="5", data={"result": 5})
    assert (status.state, status.protocol) == ("connected", "2026-07-28")


async def test_progress_and_stop_over_http(http_server: HttpServer, tmp_path: Path) -> None:
    shown = Shown()
    async with opened(client(http_server.url)) as server:
        (slow,) = [tool for tool in server.tools() if tool.spec.name == "mcp__web__slow"]
        running = asyncio.create_task(slow.run({"steps": 100, "seconds": 0.2}, shown.context))
        await eventually(lambda: _true(len(shown.percents) >= 2))
        shown.context.stop.set()
        with pytest.raises(ToolStopped):
            await running
        await eventually(lambda: _true(bool(lines_of(tmp_path / "cancelled"))))


async def test_a_server_killed_in_mid_call_leaves_it_unknown_and_is_used_again_when_it_is_back(
    http_server: HttpServer, tmp_path: Path
) -> None:
    async with opened(client(http_server.url, replace(QUICK, connect_timeout=0.5))) as server:
        await in_state(server, "connected")
        running = asyncio.create_task(call(server, "slow", {"steps": 100, "seconds": 1}))
        await eventually(lambda: _true(bool(lines_of(tmp_path / "slow"))))
        await http_server.kill()
        with pytest.raises(ToolUnknown, match="MCP server 'web' "):
            await running
        with pytest.raises(ToolFailed, match="MCP server 'web' is not connected: it cannot be reached"):
            await call(server, "add", {"a": 1, "b": 1})
        await http_server.start()
        await in_state(server, "connected")
        found = await call(server, "add", {"a": 1, "b": 2})

    assert isinstance(found, ToolResult)
    assert found.text == "3"


async def test_a_restart_between_two_calls_is_not_noticed(http_server: HttpServer) -> None:
    async with opened(client(http_server.url)) as server:
        await call(server, "add", {"a": 1, "b": 1})
        await http_server.kill()
        await http_server.start()
        await in_state(server, "connected")
        found = await call(server, "key", idempotency_key="k")

    assert isinstance(found, ToolResult)
    assert found.text == "k"


async def test_an_address_where_nobody_answers_is_told() -> None:
    async with opened(client("http://127.0.0.1:9/mcp")) as server:
        status = await in_state(server, "broken")

    assert status.why is not None
    assert status.why.startswith("MCP server 'web' cannot be reached: ")


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listener(answer: Answer) -> AsyncIterator[str]:
    """The address of a server that answers each connection by `answer`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    found = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with found:
        yield f"http://127.0.0.1:{found.sockets[0].getsockname()[1]}/mcp"


def always(status: str, body: str, kind: str = "text/html") -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await reader.read(65_536)
            head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body.encode())
            await writer.drain()

    return answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (always("200 OK", "<html>hello</html>"), "Unexpected content type: text/html"),
        (always("401 Unauthorized", "no"), r"refuses our credentials \(status 401\): check its `headers`"),
        (always("500 Oops", "<h1>oops</h1>"), "answered with status 500"),
        (always("404 Not Found", "no"), "refuses the request with status 404"),
        (always("200 OK", "{", "application/json"), "Failed to parse JSON response"),
    ],
    ids=["page", "credentials", "fault", "nothing", "garbled"],
)
async def test_what_is_no_server_of_mcp_is_told_plainly(answer: Answer, why: str) -> None:
    async with listener(answer) as url, opened(client(url)) as server:
        status = await in_state(server, "broken")

    assert status.why is not None
    assert why.replace("\\", "") in status.why


async def test_a_server_that_hangs_does_not_hold_up_the_end() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        await asyncio.sleep(600)

    async with listener(hang) as url:
        server = client(url, Limits(connect_timeout=0.2))
        async with opened(server):
            assert server.status.state == "connecting"


async def test_an_answer_without_end_is_not_taken_in() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    limits = Limits(max_message_bytes=1_000_000, connect_timeout=20, retry_min=0.02)
    async with listener(pour) as url, opened(client(url, limits)) as server:
        status = await in_state(server, "broken")

    assert status.why == "MCP server 'web' answered with more than 1000000 bytes"


async def _true(fact: bool) -> bool:
    return fact
