"""One provider and one server for all: agents that answer from it, and agents that follow a script."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

ASK = {"text": "Let me ask. ", "calls": [{"name": "ask_user", "arguments": {"question": "Which?", "choices": ["red"]}}]}
WRITE = {"text": "", "calls": [{"name": "write_file", "arguments": {"path": "a.txt", "content": "hello"}}]}


def settings(upstream: Upstream) -> dict[str, Any]:
    model = {"type": "openai", "model": "m", "host": upstream.base_url, "api_key": "k", "max_retries": 0}
    return {
        "server": {"shutdown_grace": "300ms"},
        "auth": {"keys": {"alice": "key-of-alice", "bob": "key-of-bob"}},
        "llms": {
            "default": model,
            "asks": {"type": "scripted", "script": [ASK, {"text": "Painted.", "when": "red|declined"}]},
            "writes": {"type": "scripted", "script": [WRITE, {"text": "Written."}]},
        },
        "agents": {
            "assistant": {"description": "Explains things.", "streaming": {"disconnect_grace": "400ms"}},
            "painter": {"llm": "asks", "tools": ["ask_user"], "reasoning": {"on_crash": "resume"}},
            "writer": {"llm": "writes", "tools": ["write_file"], "permissions": {"ask": ["write_file"]}},
            "hidden": {"visibility": "internal"},
            "secret": {"visibility": "private"},
        },
        "compat": {"mcp": {"task_after": "700ms"}},
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def provider() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def process(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("mcp")), settings(provider))
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest_asyncio.fixture(loop_scope="session")
async def server(process: HectorServer) -> HectorServer:
    await process.be_there()
    return process


@pytest_asyncio.fixture(loop_scope="session")
async def rest(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    """The REST API, with alice's key."""
    headers = {"Authorization": "Bearer key-of-alice"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=15, trust_env=False) as client:
        yield client


@pytest.fixture
def upstream(provider: Upstream) -> Upstream:
    """The provider, as new."""
    provider.reset()
    return provider
