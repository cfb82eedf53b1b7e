"""One session that three servers share, watched through every door at once, and ended through one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.cluster.every_door import Spread, python_path
from tests.fixtures.cluster import Cluster
from tests.fixtures.every_door import AFTER, PURSE, SETTINGS, WHOLE, begin, read_all
from tests.fixtures.postgres import Databases
from tests.fixtures.redis import RedisServer
from tests.fixtures.talk import Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 5.0
"""For the last byte on a machine with other work to do; `tests/cluster/every_door.py` measures it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["database", "redis"])
async def cluster(
    request: pytest.FixtureRequest,
    databases: Databases,
    shared_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Cluster]:
    """Servers that follow each other by the database alone, or with a tail in Redis."""
    redis_url = shared_redis.url if request.param == "redis" else None
    folder = Path(tmp_path_factory.mktemp("doors"))
    (folder / "purse.py").write_text(PURSE)
    environment = {"PYTHONPATH": python_path(folder)}
    url = databases.create()
    async with Cluster(folder, SETTINGS, url, redis_url=redis_url, environment=environment) as cluster:
        for server in cluster.servers.values():
            await server.wait_for_grpc()
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def clients(cluster: Cluster) -> AsyncIterator[list[httpx.AsyncClient]]:
    made = [httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) for url in cluster.urls]
    yield made
    for client in made:
        await client.aclose()


@pytest.mark.parametrize("turn", range(3))
async def test_every_door_tells_the_same_text_at_every_server(
    cluster: Cluster, clients: list[httpx.AsyncClient], turn: int
) -> None:
    """AG-UI's reader gives the approval, at another server each time; the session belongs to the first one."""
    session_id = f"together-{turn}"
    turn_id = await begin(clients[0], session_id)
    told = await read_all(Spread(cluster, clients).places("assistant", session_id, turn_id, turn=turn))
    for client in clients:
        stored = (await Talk(client, session_id).texts())[1:]
        assert "".join(text for text in stored if not text.startswith("paid")) == WHOLE
    assert told.pop("mcp").startswith(AFTER.strip()), "the answer: the last message"
    assert {door: text for door, text in told.items() if text != WHOLE} == {}


@pytest.mark.parametrize("turn", range(3))
async def test_a_terminate_through_another_server_ends_the_stream_of_every_door(
    cluster: Cluster, clients: list[httpx.AsyncClient], turn: int
) -> None:
    found = await Spread(cluster, clients).last_bytes(f"over-{turn}", owner=0, turn=turn)
    assert max(found.values()) < SECONDS * 1000, found
