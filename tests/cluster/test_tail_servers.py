"""Three servers with a tail in Redis: what a death, a Redis that goes, and a deletion leave of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
import pytest_asyncio

from tests.fixtures.cluster import Cluster
from tests.fixtures.house import until
from tests.fixtures.postgres import Databases, run
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKENS = 120


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis() -> AsyncIterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    provider: Upstream, databases: Databases, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    model = {"type": "openai", "model": "m", "host": provider.base_url, "api_key": "k", "max_retries": 0}
    settings = {"llms": {"upstream": model}, "agents": {"assistant": {"llm": "upstream"}}}
    folder = Path(tmp_path_factory.mktemp("cluster"))
    async with Cluster(folder, settings, databases.create(), redis_url=redis.url) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def client(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    for server in cluster.servers.values():
        await server.be_there()
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:

        async def are_up() -> bool:
            answer = await client.get(f"{cluster.urls[0]}/admin/replicas")
            return [one["tail"] for one in answer.json()["replicas"]] == ["up", "up", "up"]

        await until(are_up, seconds=30)
        yield client


class Reader:
    """One connection to the end of a turn, or to its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.text = ""
        self.end: str | None = None
        self.has = asyncio.Condition()

    async def run(self) -> None:
        try:
            async with (
                httpx.AsyncClient(trust_env=False, timeout=30) as client,
                client.stream("GET", f"{self._url}/messages/stream?after=0") as response,
            ):
                async for line in response.aiter_lines():
                    if not line.startswith("data: {"):
                        continue
                    frame = orjson.loads(line[6:])
                    kind = frame.get("type")
                    self.text = self.text + frame["chunk"] if kind is None else frame.get("text", self.text)
                    self.end = frame["status"] if kind == "turn_finished" else None
                    async with self.has:
                        self.has.notify_all()
                    if self.end is not None:
                        return
        except httpx.HTTPError:
            return

    async def wait_for(self, word: str) -> None:
        async with self.has:
            await self.has.wait_for(lambda: word in self.text or self.end is not None)


async def begin(
    client: httpx.AsyncClient, cluster: Cluster, upstream: Upstream, session: str
) -> tuple[str, list[Reader], list[asyncio.Task[None]]]:
    """An answer that the first server gives, and a reader at each server."""
    upstream.default = Reply(tokens=TOKENS, delay=0.01)
    path = f"/agents/assistant/sessions/{session}"
    made = await client.post(f"{cluster.urls[0]}/agents/assistant/sessions", json={"session_id": session})
    assert made.status_code == 201
    readers = [Reader(f"{url}{path}") for url in cluster.urls]
    reading = [asyncio.create_task(reader.run()) for reader in readers]
    sent = await client.post(f"{cluster.urls[0]}{path}/messages", json={"message": "Go.", "background": True})
    assert sent.status_code == 202
    return path, readers, reading


def whole() -> str:
    return "".join([f" t{number}" for number in range(TOKENS)])


async def test_what_readers_saw_of_an_owner_that_is_killed_stays(
    client: httpx.AsyncClient, cluster: Cluster, provider: Upstream
) -> None:
    path, readers, reading = await begin(client, cluster, provider, "killed")
    await asyncio.gather(*[reader.wait_for(" t40") for reader in readers])
    await cluster.kill("a")
    await reading[0]
    saw = readers[0].text
    assert " t40" in saw
    await asyncio.gather(*reading[1:])
    page = await client.get(f"{cluster.urls[1]}{path}/messages")
    (answer,) = [message for message in page.json()["messages"] if message["role"] == "assistant"]
    assert answer["content"].startswith(saw)
    assert [(reader.text, reader.end) for reader in readers[1:]] == [(answer["content"], "interrupted")] * 2
    rows = run(cluster.database_url, "SELECT count(*) FROM turns WHERE session_id = 'killed' AND state = 'interrupted'")
    assert rows == [(1,)]


@pytest.mark.parametrize("how", ["killed", "emptied", "paused"])
async def test_when_redis_goes_in_mid_answer_every_reader_gets_all_of_it(
    how: str, client: httpx.AsyncClient, cluster: Cluster, redis: RedisServer, provider: Upstream
) -> None:
    _, readers, reading = await begin(client, cluster, provider, f"redis-{how}")
    await asyncio.gather(*[reader.wait_for(" t20") for reader in readers])
    match how:
        case "killed":
            redis.kill()
        case "emptied":
            redis.empty()
        case "paused":
            redis.pause()
    await asyncio.gather(*[reader.wait_for(" t80") for reader in readers])
    if how == "killed":
        await asyncio.to_thread(redis.start)
    elif how == "paused":
        redis.go_on()
    await asyncio.gather(*reading)
    assert {(reader.text, reader.end) for reader in readers} == {(whole(), "completed")}


@pytest.mark.parametrize("at", [0, 1])
async def test_a_session_that_is_terminated_through_any_server_leaves_nothing_in_redis(
    at: int, client: httpx.AsyncClient, cluster: Cluster, redis: RedisServer, provider: Upstream
) -> None:
    session = f"terminated-{at}"
    path, readers, reading = await begin(client, cluster, provider, session)
    await asyncio.gather(*[reader.wait_for(" t20") for reader in readers])
    assert session.encode() in redis.command("KEYS", "*")
    gone = await client.delete(f"{cluster.urls[at]}{path}")
    assert gone.status_code == 200
    assert session.encode() not in redis.command("KEYS", "*")
    await asyncio.gather(*reading)
    assert session.encode() not in redis.command("KEYS", "*")
    assert {reader.end for reader in readers} == {"cancelled"}
