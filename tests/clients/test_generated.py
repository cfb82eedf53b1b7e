"""Clients generated from the OpenAPI document, in TypeScript and in Python, at work on a real server.

The generators are installed by `make install-dev`, at pinned versions: npm packages beside `typescript/`, Python
packages in `.venv/clients`, apart from those of the server.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.clients.tools import HERE, NODE_MODULES, PROGRAMS, run
from tests.fixtures.server import HectorServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

KEY = "secret"
SETTINGS: dict[str, Any] = {
    "auth": {"keys": {"alice": KEY}},
    "llms": {"demo": {"type": "scripted", "script": ["A bird."]}},
    "embedders": {"default": {"type": "none"}},
    "agents": {"assistant": {"memory": {"longterm": {"storage_scope": "all"}}}},
}
ANSWERED = {
    "list_agents": ["assistant"],
    "create_session": "Birds",
    "send_message": "A bird.",
    "list_messages": ["user", "assistant"],
    "list_events": "completed",
    "get_turn": "counted",
    "patch_session": "Parrots",
    "add_memory": True,
    "search_memories": "Ann keeps a parrot",
    "end_session": "ended",
    "terminate_session": "terminated",
    "refused": "session_terminated",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(tmp_path_factory.mktemp("generated"), SETTINGS)
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def folder(server: HectorServer, tmp_path: Path) -> Path:
    """With the document of the server, as `openapi.json`."""
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
        (tmp_path / "openapi.json").write_bytes((await client.get("/openapi.json")).content)
    return tmp_path


async def test_a_generated_typescript_client_is_typed_and_works(server: HectorServer, folder: Path) -> None:
    modules = NODE_MODULES
    (folder / "node_modules").symlink_to(modules)
    for name in ("call.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / "typescript" / name, folder)
    await run("node", modules / "openapi-typescript" / "bin" / "cli.js", "openapi.json", "-o", "api.ts", folder=folder)
    await run("node", modules / "typescript" / "bin" / "tsc", "-p", ".", folder=folder)
    answered = json.loads(await run("node", "out/call.js", server.base_url, KEY, folder=folder))

    assert "from-typescript" in answered.pop("list_sessions")
    assert answered == {**ANSWERED, "stream_message": True}


async def test_a_generated_python_client_works(server: HectorServer, folder: Path) -> None:
    generate = (PROGRAMS / "openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none")
    said = await run(*generate, "--output-path", "hector_api", folder=folder)
    answered = json.loads(
        await run(PROGRAMS / "python", HERE / "python" / "call.py", server.base_url, KEY, folder=folder)
    )

    assert "from-python" in answered.pop("list_sessions")
    assert answered == ANSWERED
    # The generator knows no JSON Lines; everything else it must understand.
    assert set(re.findall(r"WARNING parsing (\w+ \S+) within", said)) == {
        "GET /agents/{agent}/memories/export",
        "POST /agents/{agent}/memories/import",
    }
