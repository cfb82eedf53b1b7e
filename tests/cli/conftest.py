"""A real server with models that say what they were told to, and the commands that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.cli.command import Hector
from tests.fixtures.server import HectorServer

WORDS = " ".join([f"w{number}" for number in range(60)])
"""What `slow` says, for 1.2 seconds."""

SETTINGS: dict[str, Any] = {
    "server": {"port": 0, "shutdown_grace": "200ms"},
    "llms": {
        "echo": {"type": "scripted"},
        "slow": {"type": "scripted", "script": [{"text": WORDS, "delay_ms": 20}]},
        "failing": {"type": "scripted", "script": [{"text": "so far so", "fail_after": 2, "error": "no credit"}]},
        "hanging": {"type": "scripted", "script": [{"text": "I am", "hang": True}]},
    },
    "agents": {name: {"llm": name} for name in ("echo", "slow", "failing", "hanging")},
}
WITH_SEARCH = SETTINGS | {
    "agents": SETTINGS["agents"]
    | {
        "social": {"llm": "echo", "memory": {"longterm": {"storage_scope": "all"}}},
        "storing": {"llm": "echo", "memory": {"longterm": {"storage_scope": "conversational"}}},
    },
    "embedders": {"default": {"type": "none"}},
    "document_stores": {"papers": {"paths": ["papers"]}},
}
PAPERS = {
    "birds.md": "# Birds\n\n## Parrots\nThe parrot sleeps \x1b[31mat night.\n",
    "whales.txt": "Whales swim.\n\nThe whale sings.",
    "broken.pdf": "no pdf",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("server")), WITH_SEARCH)
    (server.folder / "papers").mkdir()
    for name, content in PAPERS.items():
        (server.folder / "papers" / name).write_text(content)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
def hector(server: HectorServer, tmp_path: Path) -> Hector:
    """Commands at the server, in a folder without a configuration."""
    return Hector(tmp_path, server.base_url)


@pytest_asyncio.fixture(loop_scope="session")
async def http(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=10, trust_env=False) as client:
        yield client


async def messages(http: httpx.AsyncClient, agent: str, session: str) -> list[tuple[str, str]]:
    """(content, status) of each message."""
    found = (await http.get(f"/agents/{agent}/sessions/{session}/messages")).json()["messages"]
    return [(message["content"], message["status"]) for message in found]
