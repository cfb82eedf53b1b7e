"""Readers that take 300 bytes a second, or nothing, at every door: each harms itself only, and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from app.conversation.replay import KEEP_SECONDS
from benchmarks.rig import resident_mb
from benchmarks.slow import WHOLE, Model
from benchmarks.slow_clients import BEGIN, DOORS, Followed, SlowClient
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEAF = 24
"""Clients that read nothing. The server would keep some 130 MB for them."""
MOST_MB = 90
"""What a turn of 5 MB may take, with them and without. Up to 40 were seen."""


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(pace=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(model: Model, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    door = {"enabled": True}
    settings = {
        "server": {"grpc_port": 0, "shutdown_grace": "300ms"},
        "embedders": {"default": {"type": "none"}},
        "llms": {"demo": {"type": "openai", "model": "m", "api_key": "k", "host": f"http://127.0.0.1:{model.port}/v1"}},
        "agents": {"assistant": {"llm": "demo", "memory": {"working": {"strategy": "buffer_window"}}}},
        "compat": dict.fromkeys(("vectorshift", "a2a", "agui", "ai_sdk", "mcp"), door),
    }
    started = HectorServer(Path(tmp_path_factory.mktemp("slow")), settings)
    await started.start()
    await started.wait_for_grpc()
    yield started
    await started.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(model: Model, server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    """The memory that a first turn takes is taken."""
    async with httpx.AsyncClient(base_url=server.base_url, timeout=30, trust_env=False) as opened:
        model.released.set()
        await (await Talk.begin(opened)).say("go")
        yield opened


@pytest.mark.parametrize("door", DOORS)
async def test_slow_readers_neither_hold_a_turn_up_nor_cost_memory_nor_lose_text(
    door: str, model: Model, server: HectorServer, client: httpx.AsyncClient
) -> None:
    hurry = asyncio.Event()
    talk, clients = await watched(door, model, server, client)
    before = resident_mb(server.pid)
    readings = [asyncio.create_task(one.read(hurry, is_deaf=place > 0)) for place, one in enumerate(clients)]
    try:
        async with talk.follow("?until=turn_end") as keeping_up:
            model.released.set()
            told = "".join([frame.chunk for frame in await keeping_up.rest() if frame.type == "text"])
        grown = resident_mb(server.pid) - before
        taken = max([one.received for one in clients])
        for place in range(2, len(clients)):
            readings[place].cancel()
            clients[place].close()
        hurry.set()
        async with asyncio.timeout(30):
            await asyncio.gather(*readings[:2])
        assert told == WHOLE
        assert taken < len(WHOLE) / 2, "they were to be slow"
        assert grown < MOST_MB
        assert [one.text() for one in clients[:2]] == [WHOLE, WHOLE]
    finally:
        for one in clients:
            one.close()
        for reading in readings:
            reading.cancel()
        await talk.terminate()


@pytest.mark.parametrize("door", ["sse", "openai-responses-again", "grpc"])
async def test_slow_readers_of_an_answer_that_is_stored_cost_no_memory_either(
    door: str, model: Model, server: HectorServer, client: httpx.AsyncClient
) -> None:
    talk = await Talk.begin(client)
    model.released.set()
    turn_id = (await talk.say("go"))["turn_id"]
    turn = Followed(server.port, server.grpc_address, "assistant", talk.session_id, turn_id, after=0)
    clients = [DOORS[door](turn) for _ in range(2 * DEAF)]
    try:
        for one in clients[:DEAF]:
            await one.open()
        await asyncio.sleep(4 * KEEP_SECONDS)  # what was read for them is dropped; others are given the same memory
        before = resident_mb(server.pid)
        for one in clients[DEAF:]:
            await one.open()
        hurry = asyncio.Event()
        reading = asyncio.create_task(clients[-1].read(hurry, is_deaf=True))
        await asyncio.sleep(4 * KEEP_SECONDS)
        grown = resident_mb(server.pid) - before
        hurry.set()
        await reading
        assert clients[-1].text() == WHOLE
        assert grown < MOST_MB
    finally:
        for one in clients:
            one.close()
        await talk.terminate()


async def watched(
    door: str, model: Model, server: HectorServer, client: httpx.AsyncClient
) -> tuple[Talk, list[SlowClient]]:
    """A turn whose model waits to be released, and its slow readers: one that reads, and deaf ones."""
    model.released.clear()
    talk = await Talk.begin(client)
    turn = Followed(server.port, server.grpc_address, "assistant", talk.session_id, "")
    clients = []
    if door in BEGIN:
        clients.append(DOORS[door](turn))
        await clients[0].open()
        turn_id = (await talk.info())["turn"]["turn_id"]
    else:
        turn_id = await talk.start("go")
    turn = Followed(server.port, server.grpc_address, "assistant", talk.session_id, turn_id)
    while len(clients) <= DEAF:
        clients.append(DOORS[door](turn))
        await clients[-1].open()
    return talk, clients
