"""Forgetting on a real server: no byte is left in any file of its data, also when it is killed in the middle."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER = {"text": "I shall remember that."}
LONGTERM = {"storage_scope": "conversational"}
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "300ms"},
    "storage": {"url": "sqlite:///data/hector.db"},
    "llms": {"demo": {"type": "scripted", "script": [ANSWER]}},
    "embedders": {"default": {"type": "none"}},
    "agents": {"assistant": {"memory": {"working": {"strategy": "buffer_window"}, "longterm": LONGTERM}}},
}
"""Always on a file, whose bytes are looked at; on Postgres tests/forgetting looks at rows and indexes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("hector")), SETTINGS)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    await server.be_there()
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as client:
        yield client


def files_with(server: HectorServer, *words: str) -> set[tuple[str, str]]:
    """(file, word) wherever one of the words stands in a file of the data."""
    found = set()
    for path in (server.folder / "data").iterdir():
        content = path.read_bytes()
        found |= {(path.name, word) for word in words if word.encode() in content}
    return found


def request_ids(server: HectorServer) -> set[bytes]:
    """Ids of deletion requests that the files hold, finished or not."""
    files = (server.folder / "data").iterdir()
    return set().union(*[re.findall(rb"wish_[0-9a-v]{22}", path.read_bytes()) for path in files])


async def talks_of(client: httpx.AsyncClient, user: str, word: str, *, number: int = 3) -> list[Talk]:
    """Sessions of a user who speaks of `word`, in words, titles and notes."""
    talks = [await Talk.begin(client, user_id=user, title=f"On {word}") for _ in range(number)]
    for talk in talks:
        for place in range(4):
            await talk.say(f"Place {place} of {word}", instructions=f"Think of {word}")
    note = good(await client.post("/agents/assistant/memories", json={"text": f"A note on {word}", "user_id": user}))
    good(await client.patch(f"/agents/assistant/memories/{note['memory_id']}", json={"text": f"The note on {word}"}))
    return talks


async def test_of_a_forgotten_user_no_file_has_a_byte_and_others_are_remembered(
    client: httpx.AsyncClient, server: HectorServer
) -> None:
    await talks_of(client, "ann-the-first-user", "xyzzyplugh")
    bobs = (await talks_of(client, "bob-the-other-user", "frobnicate"))[0]
    running = await Talk.begin(client, user_id="ann-the-first-user")
    await running.start("xyzzyplugh, in the background")
    assert files_with(server, "xyzzyplugh", "ann-the-first-user")
    receipt = good(await client.post("/agents/assistant/forget", json={"user_id": "ann-the-first-user"}))
    assert (receipt["found_afterwards"], receipt["problem"]) == (0, None)
    assert receipt["removed"]["sessions"] == 4
    assert files_with(server, "xyzzyplugh", "ann-the-first-user") == set()
    assert len(await bobs.texts()) == 8
    found = good(
        await client.post(
            "/agents/assistant/memories/search",
            json={"query": "frobnicate"},
            headers={"X-User-Id": "bob-the-other-user"},
        )
    )
    assert "frobnicate" in found["hits"][0]["text"]


async def test_a_phrase_goes_and_the_conversation_goes_on(client: httpx.AsyncClient, server: HectorServer) -> None:
    talk = (await talks_of(client, "cleo", "Abracadabra"))[0]
    await talk.say("Something else")
    receipt = good(await client.post("/agents/assistant/forget", json={"phrase": "abracadabra"}))
    assert (receipt["found_afterwards"], receipt["problem"]) == (0, None)
    assert files_with(server, "Abracadabra", "abracadabra") == set()
    assert (await talk.texts())[:3] == ["[forgotten]", ANSWER["text"], "[forgotten]"]
    assert (await talk.info())["title"] is None
    assert (await talk.say("Go on"))["response"] == ANSWER["text"]


@pytest.mark.parametrize("milliseconds", [0, 30])
async def test_a_server_that_is_killed_while_it_forgets_has_forgotten_after_the_next_start(
    client: httpx.AsyncClient, server: HectorServer, milliseconds: int
) -> None:
    user, word = f"dora-the-{milliseconds}th-user", f"rumpelstilz{milliseconds}chen"
    await talks_of(client, user, word, number=5)
    kept = (await talks_of(client, "bob-the-other-user", "frobnicate", number=1))[0]
    earlier = request_ids(server)
    forgetting = asyncio.create_task(client.post("/agents/assistant/forget", json={"user_id": user}))

    async def is_written_down() -> bool:
        return forgetting.done() or bool(request_ids(server) - earlier)

    await eventually(is_written_down, every=0.002)
    await asyncio.sleep(milliseconds / 1000)  # how far it has come is what the parameter varies
    await server.kill()
    await asyncio.wait([forgetting])
    forgetting.exception()
    await server.start()
    assert files_with(server, user, word) == set()
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as again:
        listed = good(await again.get(f"/agents/assistant/sessions?user_id={user}"))
        assert listed["sessions"] == []
        assert len(good(await again.get(f"{kept.path}/messages"))["messages"]) == 8


async def test_memories_that_are_older_than_their_retention_go_and_pinned_ones_stay(tmp_path: Path) -> None:
    server = HectorServer(tmp_path, SETTINGS)
    await server.start()
    try:
        client = httpx.AsyncClient(base_url=server.base_url, trust_env=False)
        await talks_of(client, "ann", "marmalade")
        path = "/agents/assistant/memories"
        kept = good(await client.get(path, params={"kind": "note"}))["memories"][0]["memory_id"]
        good(await client.patch(f"{path}/{kept}", json={"pinned": True}))
        await server.stop()
        longterm = LONGTERM | {"retention": "1ms"}
        agents = {"assistant": {"memory": {"working": {"strategy": "buffer_window"}, "longterm": longterm}}}
        server.configure(SETTINGS | {"agents": agents})
        await server.start()

        async def are_gone() -> bool:
            left = good(await client.get(path))["memories"]
            return [memory["memory_id"] for memory in left] == [kept]

        await eventually(are_gone)
        await client.aclose()
    finally:
        await server.close()
