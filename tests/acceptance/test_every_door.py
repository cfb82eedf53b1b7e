"""One session, watched through every door at once: while text streams, a tool waits for a yes, and after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.every_door import AFTER, PURSE, READERS, SETTINGS, WHOLE, Watched, begin, read_all
from tests.fixtures.server import ON_CLUSTER, HectorServer
from tests.fixtures.talk import Talk


@pytest.fixture
async def server(tmp_path: Path, database_url: str) -> AsyncIterator[HectorServer]:
    (tmp_path / "purse.py").write_text(PURSE)
    storage = {} if ON_CLUSTER else {"storage": {"url": database_url}}
    started = HectorServer(tmp_path, SETTINGS | storage)
    await started.start()
    await started.wait_for_grpc()
    yield started
    await started.close()


@pytest.fixture
async def client(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=20, trust_env=False) as opened:
        yield opened


async def test_every_door_tells_the_same_text_of_one_turn(server: HectorServer, client: httpx.AsyncClient) -> None:
    seen = Watched(server, client, "assistant", "together", await begin(client, "together"))
    told = await read_all(dict.fromkeys(READERS, seen))
    stored = (await Talk(client, "together").texts())[1:]
    assert "".join(text for text in stored if not text.startswith("paid")) == WHOLE
    assert told.pop("mcp").startswith(AFTER.strip()), "the answer: the last message"
    assert {door: text for door, text in told.items() if text != WHOLE} == {}
