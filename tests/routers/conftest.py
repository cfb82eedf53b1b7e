"""A whole application without a socket, on each database, for callers with keys of their own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.config.root import Config
from app.llm.scripted import Answer, ScriptedLLM
from app.main import create_app
from app.runtime import Runtime
from tests.fixtures.talk import good

AGENTS = {
    "assistant": {"memory": {"longterm": {"storage_scope": "conversational"}}},
    "narrow": {"memory": {"longterm": {"storage_scope": "session"}}},
    "wide": {"memory": {"longterm": {"storage_scope": "all"}}},
    "summing": {"memory": {"longterm": {"storage_scope": "summaries_only"}}},
    "forgetful": {},
}
CALLERS = ["shared", *[f"caller{number}" for number in range(300)]]
_callers = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["file", "postgres"])
async def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runtime]:
    """One for the tests of a module; each has callers of its own."""
    folder = tmp_path_factory.mktemp("memories")
    url = request.getfixturevalue("databases").create() if request.param == "postgres" else f"sqlite:///{folder}/h.db"
    config = Config.model_validate(
        {
            "storage": {"url": url},
            "server": {"max_message": 1000, "max_import_items": 100, "max_metadata": "1KiB"},
            "sessions": {"max_stored": "1MiB"},
            "auth": {"keys": {name: f"key-of-{name}" for name in CALLERS}},
            "llms": {"demo": {"type": "scripted"}},
            "embedders": {"default": {"type": "none"}},
            "agents": AGENTS,
        }
    )
    opened = Runtime(config, llms={"demo": ScriptedLLM("demo", [Answer("Noted.")])})
    await opened.open()
    yield opened
    await opened.close()


def client_of(runtime: Runtime, name: str, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(runtime)),
        base_url="http://localhost",
        headers={"Authorization": f"Bearer key-of-{name}", **headers},
    )


@pytest_asyncio.fixture(loop_scope="module")
async def alice(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(runtime, f"caller{next(_callers)}") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def bob(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(runtime, f"caller{next(_callers)}") as client:
        yield client


async def say(client: httpx.AsyncClient, text: str, *, agent: str = "assistant", **session: Any) -> str:
    """The session in which it was said."""
    session_id = good(await client.post(f"/agents/{agent}/sessions", json=session))["session_id"]
    good(await client.post(f"/agents/{agent}/sessions/{session_id}/messages", json={"message": text}))
    return str(session_id)
