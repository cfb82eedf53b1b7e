"""A server with a provider behind it, and the official client in front of it. One of each for a module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
import pytest_asyncio

from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

PLAN = {"name": "todo_write", "arguments": {"todos": [{"id": "1", "content": "look", "status": "done"}]}}


WEATHER = {"name": "weather", "arguments": {"city": "Rome"}}


def settings_for(provider: Upstream) -> dict[str, Any]:
    model = {"type": "openai", "model": "m", "host": provider.base_url, "api_key": "k", "max_retries": 0}
    script = [{"text": "Let me see.", "calls": [PLAN]}, {"text": "It is so."}]
    return {
        "server": {"shutdown_grace": "300ms"},
        "llms": {
            "default": model,
            "echo": {"type": "scripted"},
            "planner": {"type": "scripted", "script": script},
            "asker": {
                "type": "scripted",
                "script": [{"text": "Let me ask.", "calls": [PLAN, WEATHER]}, {"text": "It is warm."}],
            },
            "broken": {"type": "scripted", "script": [{"text": "One two three", "error": "no quota", "fail_after": 2}]},
        },
        "agents": {
            "assistant": {"streaming": {"disconnect_grace": "400ms"}},
            "impatient": {"streaming": {"disconnect_grace": 0}},
            "lasting": {"reasoning": {"on_crash": "resume"}},
            "hidden-twin": {"llm": "echo", "visibility": "internal"},
            "hidden": {"llm": "echo", "visibility": "private"},
            "echo": {"llm": "echo"},
            "planner": {"llm": "planner", "tools": ["todo_write"]},
            "asker": {"llm": "asker", "tools": ["todo_write"]},
            "asker-only": {"llm": "asker"},
            "broken": {"llm": "broken"},
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    provider: Upstream, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HectorServer]:
    changes = getattr(request.module, "SETTINGS", {})
    server = HectorServer(Path(tmp_path_factory.mktemp("hector")), settings_for(provider) | changes)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
def upstream(provider: Upstream) -> Upstream:
    """The module's provider, as new."""
    provider.reset()
    return provider


@pytest_asyncio.fixture(loop_scope="module")
async def http(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as client:
        yield client


def client_of(server: HectorServer, key: str = "none") -> openai.AsyncOpenAI:
    """The official client, which repeats nothing by itself."""
    http = httpx2.AsyncClient(timeout=15, trust_env=False)
    return openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=key, max_retries=0, http_client=http)


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: HectorServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(server) as client:
        yield client
