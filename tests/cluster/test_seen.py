"""Several servers, seen as one: who is there, and what each of them does."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.cluster.test_sessions import settings
from tests.fixtures.cluster import Cluster
from tests.fixtures.eventually import eventually
from tests.fixtures.postgres import Databases
from tests.fixtures.talk import good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR = {"Authorization": "Bearer key-of-operator"}
ANN = {"Authorization": "Bearer key-of-ann"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    provider: Upstream, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    keys = {"ann": "key-of-ann", "operator": {"key": "key-of-operator", "scopes": ["admin"]}}
    asked = {**settings(provider), "auth": {"keys": keys}}
    async with Cluster(Path(tmp_path_factory.mktemp("seen")), asked, databases.create()) as cluster:
        yield cluster


async def replicas(client: httpx.AsyncClient) -> dict[str, dict[str, object]]:
    found = good(await client.get("/admin/replicas", headers=OPERATOR))["replicas"]
    return {replica["name"]: replica for replica in found}


async def test_every_server_tells_of_all_until_one_dies(cluster: Cluster, provider: Upstream) -> None:
    clients = [httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, headers=ANN) for url in cluster.urls]
    assert reason(await clients[0].get("/admin/replicas")) == (403, "missing_scope")
    good(await clients[0].post("/agents/assistant/sessions", json={"session_id": "busy"}))
    path = "/agents/assistant/sessions/busy/messages/stream"
    provider.answer(tokens=["One"], hang="after_tokens")
    sending = asyncio.create_task(clients[0].post(path, json={"message": "Go."}))
    await provider.wait_for(requests=1, tokens=1)
    async with clients[1].stream("GET", path) as reading:
        assert reading.status_code == 200
        for number, client in enumerate(clients):
            found = await replicas(client)
            assert list(found) == ["a", *sorted(["b", "c"], key=lambda name: str(found[name]["started_at"]))]
            assert [name for name, replica in found.items() if replica["is_first"]] == ["a"]
            assert [name for name, replica in found.items() if replica["is_here"]] == ["abc"[number]]
            assert [found[name]["turns"] for name in "abc"] == [1, 0, 0]
            assert (found["a"]["sessions"], found["b"]["mirrors"], found["c"]["mirrors"]) == (1, 1, 0)
            for name, url in zip("abc", cluster.urls, strict=True):
                assert found[name]["address"] == url
                assert found[name]["status"] == "ok"
                assert 0 < float(str(found[name]["lease_seconds"])) <= 3
        text = (await clients[1].get("/metrics", headers=OPERATOR)).text
        assert f'id="{found["b"]["id"]}",name="b"' in text
        assert "hector_mirrors 1.0" in text
        assert "hector_commands_total 0.0" not in text
    await cluster.kill("a")
    sending.cancel()

    async def is_taken_over() -> bool:
        found = await replicas(clients[1])
        return set(found) == {"b", "c"} and sum([int(str(one["takeovers"])) for one in found.values()]) == 1

    await eventually(is_taken_over, within=15)
    assert await status_of(cluster["c"].base_url) == {"b", "c"}
    await cluster.restart("a")
    for client in clients:
        await client.aclose()


async def status_of(url: str) -> set[str]:
    """What `hector cluster status` prints: the names of the servers."""
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "app", "cluster", "status", "--json"],
        env={**os.environ, "HECTOR_SERVER": url, "HECTOR_TOKEN": "key-of-operator"},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return {replica["name"] for replica in json.loads(printed)["replicas"]}
