"""Ephemeral sessions and one-shots, which one server has and every server serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.cluster.test_sessions import settings
from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import Databases
from tests.fixtures.talk import good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT = "/agents/assistant"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    provider: Upstream, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    asked = {**settings(provider), "auth": {"keys": {"ann": "key-of-ann", "ben": "key-of-ben"}}}
    asked["agents"]["hasty"] = {"llm": "upstream", "streaming": {"disconnect_grace": "100ms"}}
    async with Cluster(Path(tmp_path_factory.mktemp("elsewhere")), asked, databases.create()) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def clients(cluster: Cluster) -> AsyncIterator[list[httpx.AsyncClient]]:
    headers = {"Authorization": "Bearer key-of-ann"}
    made = [httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, headers=headers) for url in cluster.urls]
    yield made
    for client in made:
        await client.aclose()


async def begin(client: httpx.AsyncClient, agent: str = AGENT) -> str:
    session = good(await client.post(f"{agent}/sessions", json={"ephemeral": True}))["session_id"]
    return f"{agent}/sessions/{session}"


async def test_every_server_talks_in_an_ephemeral_session(clients: list[httpx.AsyncClient], upstream: Upstream) -> None:
    path = await begin(clients[0])
    for number, client in enumerate(clients):
        upstream.answer(tokens=[f"Answer {number}."])
        sent = good(await client.post(f"{path}/messages", json={"message": f"Question {number}?"}))
        assert sent["response"] == f"Answer {number}."
    assert len(upstream.requests[-1].json["messages"]) >= 5
    for client in clients:
        assert good(await client.get(path))["ephemeral"] is True
        assert len(good(await client.get(f"{path}/messages"))["messages"]) == 6
    ended = await clients[2].delete(path)
    assert ended.status_code == 200, ended.text
    for client in clients:
        assert reason(await client.get(path)) == (410, "session_terminated")


async def test_a_one_shot_is_read_and_cancelled_through_other_servers(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    upstream.answer(tokens=["One", " two"], hang="after_tokens")
    async with clients[0].stream("POST", f"{AGENT}/messages/stream", json={"message": "Go."}) as first:
        session = first.headers["X-Session-Id"]
        path = f"{AGENT}/sessions/{session}"
        await upstream.wait_for(requests=1, tokens=2)
        async with clients[1].stream("GET", f"{path}/messages/stream?until=turn_end") as second:
            assert second.status_code == 200
            assert second.headers["content-type"].startswith("text/event-stream")
            text = ""
            async for line in second.aiter_lines():
                text += line
                if " two" in line and "One" in text:
                    break
            good(await clients[2].post(f"{path}/cancel"))
            await upstream.wait_for(aborts=1)
        assert '"cancelled"' in (await first.aread()).decode()


async def test_a_reader_that_leaves_another_server_leaves_the_turn(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    path = await begin(clients[0], "/agents/hasty")
    upstream.answer(tokens=["One"], hang="after_tokens")
    async with clients[1].stream("POST", f"{path}/messages/stream", json={"message": "Go."}):
        await upstream.wait_for(requests=1, tokens=1)
    await upstream.wait_for(aborts=1)  # nobody reads it any more, and the grace is over


async def test_a_ticket_opens_the_stream_through_every_server(
    cluster: Cluster, clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    path = await begin(clients[0])
    upstream.answer(tokens=["Well."])
    good(await clients[1].post(f"{path}/messages", json={"message": "Go."}))
    ticket = good(await clients[1].post(f"{path}/tickets", json={}))["ticket"]
    for url in cluster.urls:
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as browser,
            browser.stream("GET", f"{path}/messages/stream?after=0&ticket={ticket}") as response,
        ):
            assert response.status_code == 200, await response.aread()
            assert await anext(line async for line in response.aiter_lines() if "Well." in line)


async def test_credentials_count_where_the_session_is(clients: list[httpx.AsyncClient]) -> None:
    path = await begin(clients[0])
    for client in clients:
        foreign = await client.get(path, headers={"Authorization": "Bearer key-of-ben"})
        assert reason(foreign) == (404, "session_not_found")
        assert (await client.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401
    looped = await clients[1].get(path, headers={"X-Hector-Passed-On": "1"})
    assert reason(looped) == (404, "session_not_found")


async def test_one_key_of_a_one_shot_is_one_call(clients: list[httpx.AsyncClient], upstream: Upstream) -> None:
    upstream.answer(tokens=["Once."], first_delay=0.2)
    sent = await asyncio.gather(
        *[
            client.post(f"{AGENT}/messages", json={"message": "Go."}, headers={"Idempotency-Key": "the-key"})
            for client in clients
        ]
    )
    assert [good(answer)["response"] for answer in sent] == ["Once."] * 3
    assert len(upstream.requests) == 1


async def test_what_a_dead_server_had_is_unknown(
    cluster: Cluster, clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    path = await begin(clients[2])
    upstream.answer(tokens=["One"], hang="after_tokens")
    waiting = asyncio.create_task(clients[0].post(f"{path}/messages", json={"message": "Go."}))
    await upstream.wait_for(requests=1, tokens=1)
    await cluster.kill("c")
    assert (await asyncio.wait_for(waiting, 15)).status_code in (404, 503)
    for client in clients[:2]:
        async with asyncio.timeout(15):
            while (answer := await client.get(path)).status_code == 503:
                await asyncio.sleep(0.1)
        assert reason(answer) == (404, "session_not_found")
    await cluster.restart("c")
