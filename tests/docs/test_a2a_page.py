"""The page about A2A: its programs run, and its tables say what the code does."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.docs.pages import ROOT, Block, blocks
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = ROOT / "docs" / "a2a.md"
SETTINGS = {
    "llms": {"demo": {"type": "scripted", "script": [{"text": "Hello to you."}]}},
    "agents": {"assistant": {"llm": "demo"}},
    "compat": {"a2a": {"enabled": True}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(tmp_path_factory.mktemp("hector"), SETTINGS)
    await server.start()
    yield server
    await server.close()


async def output_of(*command: str, server: HectorServer) -> str:
    environment = {"PATH": os.environ["PATH"], "AGENT_URL": f"{server.base_url}/agents/assistant"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


def block_of(language: str, words: str) -> Block:
    return next(block for block in blocks(PAGE) if block.language == language and words in block.text)


async def test_the_program_prints_what_the_agent_says(server: HectorServer, tmp_path: Path) -> None:
    program = tmp_path / "ask.py"
    program.write_text(block_of("python", "send_message").text, encoding="utf-8")
    assert await output_of(sys.executable, str(program), server=server) == "Hello to you.\n"


async def test_curl_is_streamed_the_task(server: HectorServer) -> None:
    out = await output_of("bash", "-c", block_of("bash", "curl").text, server=server)
    assert '"artifactId":"answer"' in out
    assert "TASK_STATE_COMPLETED" in out
