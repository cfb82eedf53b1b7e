"""MCP clients of an older protocol whose requests go to another server each time, though one has their connection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.compat.mcp_server.conftest import settings
from tests.fixtures.cluster import Cluster
from tests.fixtures.mcp_clients import OLDER, Forms, Told
from tests.fixtures.postgres import Databases
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    provider: Upstream, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    async with Cluster(Path(tmp_path_factory.mktemp("mcp")), settings(provider), databases.create()) as cluster:
        yield cluster


class Places:
    """The server that got each request, and those that gave a connection its id."""

    def __init__(self, cluster: Cluster) -> None:
        self._next = itertools.cycle([server.port for server in cluster.servers.values()])
        self.asked: list[int] = []
        self.connections: set[str] = set()

    async def send_on(self, request: httpx2.Request) -> None:
        port = next(self._next)
        self.asked.append(port)
        request.url = request.url.copy_with(port=port)

    async def note(self, response: httpx2.Response) -> None:
        if (connection := response.headers.get("mcp-session-id")) is not None:
            self.connections.add(connection)


@asynccontextmanager
async def spread(
    cluster: Cluster, places: Places, *, key: str = "key-of-alice", **options: Any
) -> AsyncIterator[Client]:
    """A client each of whose requests goes to the next server."""
    headers = {"Authorization": "Bearer key-of-alice"}
    hooks: Any = {"request": [places.send_on], "response": [places.note]}
    url = f"{cluster.urls[0]}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30, event_hooks=hooks) as http,
        Client(streamable_http_client(url, http_client=http), mode=OLDER, **options) as client,
    ):
        yield client


async def test_a_connection_is_served_through_every_server(cluster: Cluster, upstream: Upstream) -> None:
    places, told = Places(cluster), Told()
    async with spread(cluster, places) as client:
        for number in range(3):
            assert {tool.name for tool in (await client.list_tools()).tools} >= {"assistant", "painter"}
            upstream.answer(tokens=["It", " is", f" {number}."])
            result = await client.call_tool("assistant", {"message": "How many?"}, progress_callback=told)
            assert result.content[0].text == f"It is {number}."  # type: ignore[union-attr]
            told.messages.clear()
    assert len(set(places.asked)) == 3
    assert len(places.connections) == 1


async def test_a_question_is_asked_through_one_server_and_answered_through_another(cluster: Cluster) -> None:
    places, forms = Places(cluster), Forms({"answer": "red"})
    async with spread(cluster, places, elicitation_callback=forms) as client:
        result = await client.call_tool("painter", {"message": "Go"})
    assert len(forms.asked) == 1
    assert result.content[0].text == "Painted."  # type: ignore[union-attr]


async def test_a_stranger_has_no_connection_of_another_key(cluster: Cluster) -> None:
    places = Places(cluster)
    async with spread(cluster, places) as client, httpx2.AsyncClient(trust_env=False) as http:
        await client.list_tools()
        [connection] = places.connections
        for url, key in itertools.product(cluster.urls, ("key-of-bob", "key-of-alice")):
            headers = {
                "Authorization": f"Bearer {key}",
                "Mcp-Session-Id": connection,
                "Accept": "application/json, text/event-stream",
            }
            body = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
            answer = await http.post(f"{url}/mcp", json=body, headers=headers)
            assert answer.status_code == (200 if key == "key-of-alice" else 404), answer.text


async def test_a_connection_whose_server_died_is_unknown(cluster: Cluster) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": "Bearer key-of-alice", "Accept": "application/json, text/event-stream"}
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        begun = await http.post(f"{cluster['c'].base_url}/mcp", json=body, headers=headers)
        headers["Mcp-Session-Id"] = begun.headers["Mcp-Session-Id"]
        await cluster.kill("c")
        body = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        async with asyncio.timeout(20):  # until its lease is over
            while (answer := await http.post(f"{cluster.urls[0]}/mcp", json=body, headers=headers)).status_code != 404:
                assert answer.status_code == 503
                await asyncio.sleep(0.1)
        await cluster.restart("c")
