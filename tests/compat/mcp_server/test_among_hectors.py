"""An agent of one Hector calls an agent of another by MCP, over the network and as a program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.command import ROOT
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALL = {"text": "", "calls": [{"name": "mcp__other__assistant", "arguments": {"message": "What is it?"}}]}


def caller(other: dict[str, Any]) -> dict[str, Any]:
    script = [CALL, {"text": "So it is."}]
    return {
        "server": {"shutdown_grace": "300ms"},
        "llms": {"demo": {"type": "scripted", "script": script}},
        "agents": {"boss": {"llm": "demo", "tools": ["other"]}},
        "tools": {"mcp": {"other": other}},
    }


@pytest.mark.parametrize("way", ["http", "program"])
async def test_an_agent_calls_an_agent_of_another_hector(
    server: HectorServer, upstream: Upstream, tmp_path: Path, way: str
) -> None:
    upstream.answer(tokens=["Forty", "-", "two."], delay=0.25)
    other: dict[str, Any] = {"url": f"{server.base_url}/mcp", "headers": {"Authorization": "Bearer key-of-alice"}}
    if way == "program":
        other = {
            "command": sys.executable,
            "args": ["-m", "app", "mcp", "--server", server.base_url],
            "env": {"HECTOR_TOKEN": "key-of-alice", "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}"},
        }
    boss = HectorServer(tmp_path, caller(other))
    await boss.start()
    try:
        await boss.wait_for_log(" is connected: ")
        async with httpx.AsyncClient(base_url=boss.base_url, timeout=30, trust_env=False) as client:
            talk = await Talk.begin(client, agent="boss")
            frames = await talk.stream_all("Ask the other.")
            messages = await talk.messages()
    finally:
        await boss.close()

    (outcome,) = [message["content"] for message in messages if message["role"] == "tool"]
    assert outcome.startswith("Forty-two.")
    assert "[session_id: mcp-" in outcome
    progress = [frame.json["text"] for frame in frames if frame.type == "tool_progress"]
    assert "Forty" in "".join(progress)
