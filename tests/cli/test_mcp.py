"""hector mcp: the official SDK's client on its standard input and output."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

from app.cli.failures import ExitCode
from tests.cli.command import Hector, environment
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_clients import MODERN, OLDER, Forms, Told
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

both = pytest.mark.parametrize("mode", [MODERN, OLDER])
ASK = {"text": "", "calls": [{"name": "ask_user", "arguments": {"question": "Which?"}}]}
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "300ms"},
    "llms": {
        "talks": {"type": "scripted", "script": [{"text": "one two three four", "delay_ms": 150}]},
        "hangs": {"type": "scripted", "script": [{"text": "on and on", "hang": True}]},
        "asks": {"type": "scripted", "script": [ASK, {"text": "Thanks."}]},
    },
    "agents": {
        "talker": {"llm": "talks"},
        "hanger": {"llm": "hangs"},
        "asker": {"llm": "asks", "tools": ["ask_user"]},
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    """A server with one key, which commands beside its configuration find."""
    folder = Path(tmp_path_factory.mktemp("served"))
    server = HectorServer(folder, {**SETTINGS, "auth": {"keys": {"alice": "key-of-alice"}}})
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def program(folder: Path, *arguments: str, mode: Any = MODERN, **options: Any) -> AsyncIterator[Client]:
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "app", "mcp", *arguments], env=environment(folder), cwd=folder
    )
    async with Client(command, mode=mode, **options) as client:
        yield client


@both
async def test_agents_of_the_running_server_are_called(served: HectorServer, mode: str) -> None:
    told, forms = Told(), Forms({"answer": "Blue"})
    async with program(served.folder, mode=mode, elicitation_callback=forms) as client:
        tools = await client.list_tools()
        result = await client.call_tool("talker", {"message": "Count"}, progress_callback=told)
        answered = await client.call_tool("asker", {"message": "Ask"})

    assert [tool.name for tool in tools.tools] == ["asker", "hanger", "talker"]
    assert result.structured_content["status"] == "completed"
    assert "".join(told.messages[1:]) == "one two three four"
    assert forms.asked[0].message == "Which?"
    assert answered.structured_content["status"] == "completed"


@both
async def test_a_cancelled_call_cancels_the_turn_of_the_server(served: HectorServer, mode: str) -> None:
    told, key = Told(), {"Authorization": "Bearer key-of-alice"}
    async with (
        httpx.AsyncClient(base_url=served.base_url, headers=key, trust_env=False) as rest,
        program(served.folder, mode=mode) as client,
    ):
        call = asyncio.create_task(client.call_tool("hanger", {"message": "Go"}, progress_callback=told))

        async def has_begun() -> bool:
            return len(told.messages) > 1

        await eventually(has_begun, within=20)
        call.cancel()

        async def state() -> bool:
            session = (await rest.get("/agents/hanger/sessions?limit=1")).json()["sessions"][0]
            found = await rest.get(f"/agents/hanger/sessions/{session['session_id']}/messages?roles=assistant")
            return [message["status"] for message in found.json()["messages"]] == ["cancelled"]

        await eventually(state, within=20)


async def test_a_restart_of_the_server_is_not_the_end_of_the_program(served: HectorServer) -> None:
    async with program(served.folder, mode=OLDER) as client:
        await client.list_tools()
        await served.stop()
        with pytest.raises(MCPError, match="The server does not answer"):
            await client.call_tool("talker", {"message": "Hello?"})
        await served.start()
        result = await client.call_tool("talker", {"message": "Hello again"})

    assert result.structured_content["status"] == "completed"


async def test_without_a_server_the_agents_run_in_the_program(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    async with program(tmp_path) as client:
        result = await client.call_tool("talker", {"message": "Count"})

    assert result.structured_content["status"] == "completed"
    assert (tmp_path / "data" / "hector.db").exists()


async def test_a_line_that_is_no_message_is_answered_with_an_error(served: HectorServer) -> None:
    result = await Hector(served.folder)("mcp", stdin="nonsense\n")

    assert result.code == 0
    assert '"code":-32700' in result.out


async def test_a_closed_door_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**SETTINGS, "compat": {"mcp": {"enabled": False}}}))
    result = await Hector(tmp_path)("mcp")

    assert result.code == ExitCode.REFUSED
    assert "compat.mcp.enabled" in result.err


async def test_a_wrong_key_is_a_sentence(served: HectorServer) -> None:
    result = await Hector(served.folder)("mcp", "--server", served.base_url, "--token", "wrong")

    assert result.code == ExitCode.REFUSED
    assert "HECTOR_TOKEN" in result.err
    assert result.out == ""


async def test_a_signal_ends_the_program(served: HectorServer) -> None:
    process = await Hector(served.folder).start("mcp")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"nonsense\n")
    assert b"-32700" in await process.stdout.readline()
    process.terminate()
    async with asyncio.timeout(10):
        assert await process.wait() == ExitCode.TERMINATED
