"""What several servers keep in memory of the same rows: memories, created agents, texts that are to be forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import Databases
from tests.fixtures.talk import good, reason

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/agents/assistant"
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "300ms"},
    "llms": {
        "demo": {"type": "scripted", "script": [{"when": "go on", "text": "on and ", "hang": True}, {"text": "Well."}]}
    },
    "embedders": {"default": {"type": "none"}},
    "agents": {"assistant": {"memory": {"longterm": {"storage_scope": "conversational"}}}},
    "compat": {"vectorshift": {"enabled": True, "prefix": "/vs"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(Path(tmp_path_factory.mktemp("copies")), SETTINGS, databases.create()) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def clients(cluster: Cluster) -> AsyncIterator[list[httpx.AsyncClient]]:
    made = [httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) for url in cluster.urls]
    yield made
    for client in made:
        await client.aclose()


async def say(client: httpx.AsyncClient, text: str, *, user: str) -> str:
    session = good(await client.post(f"{PATH}/sessions", json={"user_id": user}))["session_id"]
    good(await client.post(f"{PATH}/sessions/{session}/messages", json={"message": text}))
    return str(session)


async def search(client: httpx.AsyncClient, query: str, *, user: str) -> list[str]:
    found = good(await client.post(f"{PATH}/memories/search", json={"query": query, "user_id": user}))
    return [hit["text"] for hit in found["hits"]]


async def test_what_one_server_remembers_every_server_recalls(clients: list[httpx.AsyncClient]) -> None:
    for number, client in enumerate(clients * 2):
        note = f"Lamp {number} is green"
        good(await client.post(f"{PATH}/memories", json={"text": note, "user_id": "ann"}))
        for other in clients:
            assert note in await search(other, f"lamp {number} green", user="ann")
    said = await say(clients[0], "My cat is called Pixel", user="ann")
    assert said
    for client in clients:
        assert "My cat is called Pixel" in await search(client, "cat called", user="ann")


async def test_what_one_server_edits_and_deletes_none_recalls_as_it_was(clients: list[httpx.AsyncClient]) -> None:
    note = good(await clients[0].post(f"{PATH}/memories", json={"text": "The code is topaz", "user_id": "bea"}))
    path = f"{PATH}/memories/{note['memory_id']}"
    for client in clients:
        assert await search(client, "topaz code", user="bea") == ["The code is topaz"]
    good(await clients[1].patch(path, json={"text": "The code is opal"}))
    for client in clients:
        assert await search(client, "code", user="bea") == ["The code is opal"]
        assert await search(client, "topaz", user="bea") == []
    good(await clients[2].delete(path))
    for client in clients:
        assert await search(client, "opal code", user="bea") == []


async def test_what_is_forgotten_through_one_server_is_on_none(clients: list[httpx.AsyncClient]) -> None:
    sessions = [await say(client, "My locker has the number 4711", user="cleo") for client in clients]
    for client in clients:
        assert await search(client, "locker number", user="cleo")
    receipt = good(await clients[0].post(f"{PATH}/forget", json={"user_id": "cleo"}))
    assert receipt["removed"]["memories"] == 6
    for client in clients:
        assert await search(client, "locker number", user="cleo") == []
        for session in sessions:
            assert reason(await client.get(f"{PATH}/sessions/{session}")) == (410, "session_terminated")


async def test_a_forgotten_phrase_is_in_no_servers_copy_of_a_session(clients: list[httpx.AsyncClient]) -> None:
    session = await say(clients[0], "It is called mandragora", user="dora")
    path = f"{PATH}/sessions/{session}"
    good(await clients[0].patch(path, json={"title": "About mandragora"}))
    for client in clients:
        assert "mandragora" in (await client.get(f"{path}/messages")).text
        assert good(await client.get(path))["title"] == "About mandragora"
    good(await clients[1].post(f"{PATH}/forget", json={"phrase": "mandragora", "user_id": "dora"}))
    for client in clients:
        for address in (path, f"{path}/messages", f"{path}/events?after=0"):
            assert "mandragora" not in (await client.get(address, timeout=5)).text


async def test_a_created_agent_is_known_everywhere_when_its_maker_hears_of_it(
    clients: list[httpx.AsyncClient],
) -> None:
    made = good(
        await clients[0].post(
            "/vs/agent", json={"name": "helper", "llm_client_key": {"provider": "x", "model_id": "demo"}}
        )
    )
    agent = made["id"]
    for client in clients:
        session = good(await client.post(f"/agents/{agent}/sessions"))["session_id"]
        sent = good(await client.post(f"/agents/{agent}/sessions/{session}/messages", json={"message": "Hello"}))
        assert sent["response"] == "Well."
    good(
        await clients[1].post(
            f"/vs/update/agent/{agent}", json={"name": "other", "llm_client_key": {"provider": "x", "model_id": "demo"}}
        )
    )
    for client in clients:
        assert good(await client.get(f"/vs/agent?id={agent}"))["object"]["name"] == "other"
    good(await clients[0].delete(f"/vs/agent/{agent}"))
    for client in clients:
        assert reason(await client.post(f"/agents/{agent}/sessions")) == (404, "agent_not_found")
        assert (await client.get(f"/vs/agent?id={agent}")).status_code == 404
        assert (await client.get(f"/agents/{agent}/sessions/{session}")).status_code == 404
