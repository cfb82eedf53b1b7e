"""Three servers that are one service: a key is known and refused everywhere, and a limit is one limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import Databases
from tests.fixtures.talk import good

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR = "key-of-operator-00"
RATE, BURST, SECONDS = 40, 40, 4.0
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "300ms"},
    "embedders": {"default": {"type": "none"}},
    "auth": {"keys": {"operator": {"key": OPERATOR, "scopes": ["admin"]}, "crowd": "key-of-crowd-00000"}},
    "limits": {"user": {"requests_per_second": RATE, "burst": BURST, "turns": 4}},
    "llms": {"hang": {"type": "scripted", "script": [{"text": "So ", "hang": True}]}},
    "agents": {"assistant": {}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cluster"), SETTINGS, databases.create()) as started:
        yield started


@asynccontextmanager
async def clients(cluster: Cluster, key: str, user: str = "ann") -> AsyncIterator[list[httpx.AsyncClient]]:
    """One for each server."""
    headers = {"Authorization": f"Bearer {key}", "X-User-Id": user}
    async with AsyncExitStack() as stack:
        opened = [httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False) for url in cluster.urls]
        yield [await stack.enter_async_context(one) for one in opened]


async def test_a_key_is_known_and_refused_on_every_server_at_once(cluster: Cluster) -> None:
    async with clients(cluster, OPERATOR, "boss") as (first, second, _):
        for number in range(3):
            made = good(await first.post("/admin/keys", json={"name": f"shop-{number}"}))
            async with clients(cluster, made["key"], f"reader-{number}") as readers:
                for reader in readers:  # no such agent, but the key is good
                    assert (await reader.get("/agents/nobody")).status_code == 404
                good(await second.delete(f"/admin/keys/{made['key_id']}"))
                for reader in readers:
                    assert (await reader.get("/agents/nobody")).status_code == 401


async def test_three_servers_let_through_what_one_would(cluster: Cluster) -> None:
    passed = refused = 0
    end = time.monotonic() + SECONDS

    async def ask(http: httpx.AsyncClient) -> None:
        nonlocal passed, refused
        while time.monotonic() < end:
            if (await http.get("/agents/nobody")).status_code == 404:
                passed += 1
            else:
                refused += 1
                await asyncio.sleep(0.01)

    began = time.monotonic()
    async with clients(cluster, "key-of-crowd-00000") as crowd:
        await asyncio.gather(*[ask(http) for http in crowd for _ in range(2)])
    one = BURST + RATE * (time.monotonic() - began)
    assert refused > 10
    assert 0.9 * one <= passed <= 1.1 * one, (passed, refused, one)


async def test_turns_on_three_servers_are_counted_together(cluster: Cluster) -> None:
    body = {"message": "Go on", "background": True}
    async with clients(cluster, "key-of-crowd-00000", "talker") as ann:
        sessions = [good(await http.post("/agents/assistant/sessions", json={})) for http in ann for _ in range(3)]
        paths = [f"/agents/assistant/sessions/{made['session_id']}/messages" for made in sessions]
        answers = await asyncio.gather(*[ann[n // 3].post(path, json=body) for n, path in enumerate(paths)])
    assert sorted(answer.status_code for answer in answers) == [202] * 4 + [429] * 5
