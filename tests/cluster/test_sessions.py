"""One session through three servers: whoever is asked, the same conversation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from tests.fixtures.cluster import Cluster
from tests.fixtures.eventually import eventually
from tests.fixtures.postgres import Databases, run
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")


def settings(upstream: Upstream) -> dict[str, Any]:
    return {
        "server": {"shutdown_grace": "300ms"},
        "llms": {
            "upstream": {"type": "openai", "model": "m", "host": upstream.base_url, "api_key": "k", "max_retries": 0}
        },
        "agents": {
            "assistant": {"llm": "upstream"},
            "resuming": {"llm": "upstream", "reasoning": {"on_crash": "resume"}},
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["database", "redis"])
async def cluster(
    request: pytest.FixtureRequest,
    provider: Upstream,
    databases: Databases,
    shared_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Cluster]:
    """Servers that follow each other by the database alone, or with a tail in Redis."""
    folder = Path(tmp_path_factory.mktemp("cluster"))
    redis_url = shared_redis.url if request.param == "redis" else None
    async with Cluster(folder, settings(provider), databases.create(), redis_url=redis_url) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def clients(cluster: Cluster) -> AsyncIterator[list[httpx.AsyncClient]]:
    """One for each server."""
    for server in cluster.servers.values():
        await server.be_there()
    made = [httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) for url in cluster.urls]
    yield made
    for client in made:
        await client.aclose()


async def frames(response: httpx.Response) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    number = 0
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            number = int(line[4:].partition(":")[0])
        elif line.startswith("data: ") and line != "data: [DONE]":
            yield number, orjson.loads(line[6:])


async def read_frames(client: httpx.AsyncClient, path: str, seen: asyncio.Event) -> list[dict[str, Any]]:
    """The frames of a stream to its end; `seen` is set with the first text."""
    found = []
    async with client.stream("GET", path) as response:
        async for _, frame in frames(response):
            found.append(frame)
            if frame.get("type") is None:
                seen.set()
    return found


async def read_text(
    client: httpx.AsyncClient, path: str, *, seen: asyncio.Event | None = None, **parameters: Any
) -> tuple[str, list[int]]:
    """The text of a stream to its end, and the numbers of its events; `seen` is set when all of the 100 are there."""
    text, numbers = "", []
    async with client.stream("GET", path, params=parameters) as response:
        assert response.status_code == 200, await response.aread()
        async for number, frame in frames(response):
            numbers.append(number)
            if frame.get("type") is None:
                text += frame["chunk"]
                if seen is not None and text.endswith(" t99"):
                    seen.set()
            elif frame["type"] == "snapshot":
                text = frame["text"]
    return text, numbers


async def test_messages_go_to_any_server(clients: list[httpx.AsyncClient], upstream: Upstream) -> None:
    made = await clients[0].post("/agents/assistant/sessions", json={"session_id": "round"})
    assert made.status_code == 201
    for number, client in enumerate([*clients, *clients]):
        upstream.answer(tokens=[f"Answer {number}."])
        sent = await client.post("/agents/assistant/sessions/round/messages", json={"message": f"Question {number}?"})
        assert sent.status_code == 200, sent.text
        assert sent.json()["response"] == f"Answer {number}."
    for client in clients:
        page = (await client.get("/agents/assistant/sessions/round/messages")).json()["messages"]
        assert [message["content"] for message in page if message["role"] == "assistant"] == [
            f"Answer {number}." for number in range(6)
        ]
    assert len(upstream.requests[-1].json["messages"]) >= 11


async def test_readers_on_every_server_see_one_answer(clients: list[httpx.AsyncClient], upstream: Upstream) -> None:
    await clients[0].post("/agents/assistant/sessions", json={"session_id": "shown"})
    upstream.answer(tokens=200, delay=0.01)
    path = "/agents/assistant/sessions/shown/messages/stream"
    sending = asyncio.create_task(clients[0].post(path, json={"message": "Go."}))
    await upstream.wait_for(requests=1, tokens=5)
    read = [read_text(client, path, until="turn_end") for client in clients]
    found = await asyncio.gather(*read)
    await sending
    expected = "".join([f" t{number}" for number in range(200)])
    assert [text for text, _ in found] == [expected] * 3
    for _, numbers in found:
        assert numbers == sorted(numbers)


async def test_a_cancel_through_another_server_stops_the_model(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    await clients[0].post("/agents/assistant/sessions", json={"session_id": "stop"})
    upstream.answer(tokens=2, hang="after_tokens")
    path = "/agents/assistant/sessions/stop/messages/stream"
    sending = asyncio.create_task(clients[0].post(path, json={"message": "Go."}))
    await upstream.wait_for(requests=1, tokens=2)
    cancelled = await clients[1].post("/agents/assistant/sessions/stop/cancel")
    assert cancelled.status_code == 200, cancelled.text
    await upstream.wait_for(aborts=1)
    assert '"cancelled"' in (await sending).text


async def test_a_terminate_through_another_server_is_final_on_all(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    await clients[0].post("/agents/assistant/sessions", json={"session_id": "dead"})
    upstream.answer(tokens=2, hang="after_tokens")
    path = "/agents/assistant/sessions/dead/messages/stream"
    sending = asyncio.create_task(clients[0].post(path, json={"message": "Go."}))
    await upstream.wait_for(requests=1, tokens=2)
    seen = asyncio.Event()
    watching = asyncio.create_task(read_frames(clients[2], path, seen))
    await seen.wait()
    ended = await clients[1].delete("/agents/assistant/sessions/dead")
    assert ended.status_code == 200, ended.text
    await upstream.wait_for(aborts=1)
    for client in clients:
        assert (await client.get("/agents/assistant/sessions/dead")).status_code == 410
    assert "session_terminated" in (await sending).text
    assert "session_terminated" in [frame.get("type") for frame in await watching]


async def test_messages_at_once_through_two_servers_are_answered_one_after_another(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    await clients[0].post("/agents/assistant/sessions", json={"session_id": "both"})
    upstream.answer(tokens=["One."], first_delay=0.3)
    upstream.answer(tokens=["Two."])
    sent = await asyncio.gather(
        *[client.post("/agents/assistant/sessions/both/messages", json={"message": "Go."}) for client in clients[:2]]
    )
    assert [answer.status_code for answer in sent] == [200] * 2, [answer.text for answer in sent]
    assert sorted([answer.json()["response"] for answer in sent]) == ["One.", "Two."]


async def test_one_key_through_three_servers_is_one_call(clients: list[httpx.AsyncClient], upstream: Upstream) -> None:
    await clients[0].post("/agents/assistant/sessions", json={"session_id": "keyed"})
    upstream.answer(tokens=["Once."], first_delay=0.2)
    sent = await asyncio.gather(
        *[
            client.post(
                "/agents/assistant/sessions/keyed/messages",
                json={"message": "Go."},
                headers={"Idempotency-Key": "the-key"},
            )
            for client in clients
        ]
    )
    assert [answer.status_code for answer in sent] == [200] * 3, [answer.text for answer in sent]
    assert [answer.json()["response"] for answer in sent] == ["Once."] * 3
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("agent", ["assistant", "resuming"])
async def test_a_dead_owner_is_followed_by_another(
    cluster: Cluster, clients: list[httpx.AsyncClient], upstream: Upstream, agent: str
) -> None:
    session = f"owner-of-{agent}"
    await clients[0].post(f"/agents/{agent}/sessions", json={"session_id": session})
    upstream.answer(tokens=100, delay=0.01, hang="after_tokens")
    upstream.answer(tokens=["All", " again."])
    path = f"/agents/{agent}/sessions/{session}/messages/stream"
    sending = asyncio.create_task(clients[0].post(path, json={"message": "Go."}))
    await upstream.wait_for(requests=1, tokens=100)
    seen = [asyncio.Event() for _ in clients[1:]]
    reading = [
        asyncio.create_task(read_text(client, path, seen=one, until="turn_end"))
        for client, one in zip(clients[1:], seen, strict=True)
    ]
    for one in seen:
        await one.wait()
    await cluster.kill("a")
    sending.cancel()
    found = await asyncio.wait_for(asyncio.gather(*reading), 15)
    page = (await clients[1].get(f"/agents/{agent}/sessions/{session}/messages")).json()["messages"]
    stored = page[-1]["content"]
    assert [text for text, _ in found] == [stored] * 2
    assert stored == ("All again." if agent == "resuming" else "".join([f" t{number}" for number in range(100)]))
    await cluster.restart("a")


async def test_a_session_goes_to_the_server_where_it_is_used(
    cluster: Cluster, clients: list[httpx.AsyncClient]
) -> None:
    a, b, _ = clients
    created = (await a.post("/agents/assistant/sessions")).json()
    path = f"/agents/assistant/sessions/{created['session_id']}/messages"
    # At once, one after the other: its owner has never a quiet second.
    for client in (a, b, b, b):
        assert (await client.post(path, json={"message": "Hello"})).status_code == 200
    [[name]] = run(
        cluster.database_url,
        "SELECT r.name FROM sessions s JOIN replicas r ON r.id = s.owner"
        f" WHERE s.session_id = '{created['session_id']}'",
    )
    assert name == "b"
    assert len((await a.get(path)).json()["messages"]) == 8


async def test_orders_through_different_servers_at_once_are_each_answered(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    upstream.default = Reply(tokens=50, delay=0.01)
    for number, orders in enumerate(["cc", "tt", "ct", "tc", "cct"]):
        path = f"/agents/assistant/sessions/orders-{number}"
        made = await clients[0].post("/agents/assistant/sessions", json={"session_id": f"orders-{number}"})
        assert made.status_code == 201
        sending = asyncio.create_task(clients[1].post(f"{path}/messages", json={"message": "Go."}))
        await upstream.wait_for(requests=number + 1)
        answers = await asyncio.gather(
            *[
                client.delete(path) if order == "t" else client.post(f"{path}/cancel")
                for order, client in zip(orders, clients, strict=False)
            ]
        )
        assert {answer.status_code for answer in answers} <= {200, 410}, [answer.text for answer in answers]
        assert (await sending).status_code in (409, 410, 503)
        left = [(await client.get(path)).status_code for client in clients]
        assert left == ([410] * 3 if "t" in orders else [200] * 3)


async def test_what_is_said_so_far_is_told_by_every_server(
    clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    await clients[0].post("/agents/assistant/sessions", json={"session_id": "so-far"})
    upstream.answer(tokens=100, hang="after_tokens")
    path = "/agents/assistant/sessions/so-far/messages/stream"
    sending = asyncio.create_task(clients[0].post(path, json={"message": "Go."}))
    await upstream.wait_for(requests=1, tokens=100)
    seen = asyncio.Event()
    reading = asyncio.create_task(read_text(clients[1], path, seen=seen, until="turn_end"))
    await seen.wait()
    turn = (await clients[1].get("/agents/assistant/sessions/so-far")).json()["turn"]
    told = (await clients[1].get(f"/agents/assistant/sessions/so-far/turns/{turn['turn_id']}")).json()
    assert told["status"] == "running"
    await clients[2].post("/agents/assistant/sessions/so-far/cancel")
    await asyncio.gather(sending, reading)


async def test_a_session_that_was_to_end_after_its_turn_ends_although_its_owner_died(
    cluster: Cluster, clients: list[httpx.AsyncClient], upstream: Upstream
) -> None:
    await clients[0].post("/agents/assistant/sessions", json={"session_id": "to-end"})
    upstream.answer(tokens=3, hang="after_tokens")
    path = "/agents/assistant/sessions/to-end"
    sending = asyncio.create_task(clients[0].post(f"{path}/messages", json={"message": "Go."}))
    await upstream.wait_for(requests=1, tokens=3)
    assert (await clients[1].post(f"{path}/end")).status_code == 200
    await cluster.kill("a")
    sending.cancel()

    async def has_ended() -> bool:
        return bool((await clients[1].get(path)).json().get("status") == "ended")

    await eventually(has_ended, within=20)
    await cluster.restart("a")
