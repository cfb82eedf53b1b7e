"""What every promise needs: a provider, a server on it, and a client. One of each for a module.

A module may say how its server is configured by a constant `SETTINGS`, laid over what stands here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.document import Document
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream


def settings_for(upstream: Upstream, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A configuration whose only model is `upstream`. An entry `llm` in `changes` is laid over that model."""
    changes = dict(changes or {})
    model = {
        "type": "openai",
        "model": "test-model",
        "host": upstream.base_url,
        "api_key": "test-key",
        "max_retries": 0,
    } | changes.pop("llm", {})
    base: dict[str, Any] = {
        "server": {"shutdown_grace": "300ms"},
        "llms": {"default": model},
        "agents": {"assistant": {}},
    }
    for name, section in changes.items():
        base[name] = base.get(name, {}) | section
    return base


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(
    provider: Upstream, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HectorServer]:
    settings = settings_for(provider, getattr(request.module, "SETTINGS", None))
    server = HectorServer(Path(tmp_path_factory.mktemp("hector")), settings)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def server(process: HectorServer) -> HectorServer:
    """The module's server, running: a test that failed between a stop and a start must not take others with it."""
    await process.be_there()
    return process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def document(process: HectorServer) -> Document:
    async with httpx.AsyncClient(base_url=process.base_url, timeout=15, trust_env=False) as client:
        return Document((await client.get("/openapi.json")).json())


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: HectorServer, document: Document) -> AsyncIterator[httpx.AsyncClient]:
    """Refuses every answer that the OpenAPI document does not declare."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    hooks = {"response": [document.judge]}
    async with httpx.AsyncClient(
        base_url=server.base_url, timeout=15, limits=limits, trust_env=False, event_hooks=hooks
    ) as client:
        yield client


@pytest.fixture
def upstream(provider: Upstream) -> Upstream:
    """The module's provider, as new."""
    provider.reset()
    return provider
