"""What one session tells, another remembers: whose, across a restart, and whatever the embedder does."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import Select, select

from app.memory.block import TAG
from app.storage import tables
from app.storage.engine import dialect
from tests.acceptance.conftest import settings_for
from tests.fixtures.embeddings import EmbeddingServer
from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Frame
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

FACTS = ["My sister Ada plays the cello", "We had soup today", "The train to Bergen was late"]
QUESTION = "Which instrument does my sister play?"


def agent(scope: str) -> dict[str, Any]:
    return {"memory": {"longterm": {"storage_scope": scope}}}


AGENTS = {scope: agent(scope) for scope in ("session", "conversational", "all", "summaries_only")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder() -> AsyncIterator[EmbeddingServer]:
    async with EmbeddingServer() as embedder:
        yield embedder


@pytest.fixture(scope="module")
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if os.environ.get("TEST_ON") == "postgres":
        return str(request.getfixturevalue("databases").create())
    return f"sqlite:///{tmp_path_factory.mktemp('data')}/hector.db"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(
    provider: Upstream,
    embedder: EmbeddingServer,
    database_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[HectorServer]:
    settings = settings_for(provider) | {"agents": AGENTS}
    settings["embedders"] = {"default": {"type": "openai", "model": "hash", "host": embedder.base_url}}
    settings["storage"] = {"url": database_url}
    server = HectorServer(Path(tmp_path_factory.mktemp("hector")), settings)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


def look(database_url: str, query: Select[Any]) -> list[Any]:
    """Look into the tables, past the server."""
    engine = dialect.make_engine(database_url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(query).scalars())
    finally:
        engine.dispose()


def stored(database_url: str, user: str) -> list[str]:
    """Kind and text of every memory of a user."""
    both = tables.memories.c.kind + ": " + tables.memories.c.text
    return look(database_url, select(both).where(tables.memories.c.user_id == user).order_by(tables.memories.c.row))


async def tell(client: httpx.AsyncClient, agent: str, user: str) -> Talk:
    talk = await Talk.begin(client, agent=agent, user_id=user)
    for fact in FACTS:
        await talk.say(fact)
    return talk


async def ask(client: httpx.AsyncClient, agent: str, user: str) -> list[Frame]:
    talk = await Talk.begin(client, agent=agent, user_id=user)
    return await talk.stream_all(QUESTION)


def memory_of(frames: list[Frame]) -> dict[str, Any]:
    found = [frame.json for frame in frames if frame.type == "memory"]
    assert len(found) <= 1
    return found[0] if found else {"memories": []}


def told(upstream: Upstream) -> str:
    """What the model was last told of memories."""
    system = str(upstream.requests[-1].json["messages"][0]["content"])
    return system.partition(f"<{TAG}>")[2]


async def test_a_session_after_a_restart_recalls_what_the_one_before_was_told(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    first = await tell(client, "conversational", "ann")
    assert await server.stop() == 0
    await server.start()
    frames = await ask(client, "conversational", "ann")
    assert FACTS[0] in told(upstream)
    found = memory_of(frames)["memories"][0]
    assert (found["text"], found["session_id"]) == (FACTS[0], first.session_id)
    assert found["score"] > 0
    assert found["cues"]
    assert [frame.type for frame in frames][:3] == ["turn_started", "memory", "text"]
    record = await Talk(client, frames[0].json["session_id"], agent="conversational").turn(frames[0].json["turn_id"])
    assert record["memory"]["memories"][0] == found
    source = await first.turn(found["turn_id"])
    assert source["user_message_id"] == found["message_id"]


async def test_without_keys_and_names_there_is_one_user(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="conversational")
    await talk.say(FACTS[0])
    await (await Talk.begin(client, agent="conversational")).say(QUESTION)
    assert FACTS[0] in told(upstream)
    await (await Talk.begin(client, agent="conversational", user_id="zoe")).say(QUESTION)
    assert told(upstream) == ""


async def test_another_user_recalls_nothing_of_it(client: httpx.AsyncClient, upstream: Upstream) -> None:
    await tell(client, "conversational", "cem")
    assert memory_of(await ask(client, "conversational", "dora"))["memories"] == []
    assert told(upstream) == ""


async def test_in_session_scope_another_session_recalls_nothing(client: httpx.AsyncClient, upstream: Upstream) -> None:
    await tell(client, "session", "eve")
    assert memory_of(await ask(client, "session", "eve"))["memories"] == []
    assert told(upstream) == ""


async def test_what_all_share_another_user_recalls(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    await tell(client, "all", "finn")
    found = memory_of(await ask(client, "all", "gita"))["memories"][0]
    assert (found["text"], found["session_id"]) == (FACTS[0], None)
    assert FACTS[0] in told(upstream)
    assert "agent all shares its memories among all of its users" in server.log_text


async def test_where_only_summaries_are_kept_no_word_of_a_message_is(
    client: httpx.AsyncClient, upstream: Upstream, database_url: str
) -> None:
    talk = await tell(client, "summaries_only", "hans")
    assert stored(database_url, "hans") == []
    upstream.answer(tokens=["A relative", " plays", " an instrument", ":", " the cello", "."])
    await talk.end()

    async def is_kept() -> bool:
        return bool(stored(database_url, "hans"))

    await eventually(is_kept)
    assert stored(database_url, "hans") == ["summary: A relative plays an instrument: the cello."]
    await ask(client, "summaries_only", "hans")
    assert "A relative plays an instrument: the cello." in told(upstream)
    assert FACTS[0] not in told(upstream)


@pytest.mark.parametrize("state", [Reply(headers_delay=0.8), Reply(status=500)], ids=["slow", "broken"])
async def test_an_embedder_that_is_slow_or_broken_keeps_no_answer_waiting(
    client: httpx.AsyncClient, upstream: Upstream, embedder: EmbeddingServer, state: Reply
) -> None:
    user = f"user-{state.status}"
    embedder.default = state
    try:
        await tell(client, "conversational", user)
        began = time.monotonic()
        found = memory_of(await ask(client, "conversational", user))
        assert time.monotonic() - began < 0.6
        assert found["memories"][0]["text"] == FACTS[0], "found by its words"
        assert found["by_meaning"] is False
    finally:
        embedder.default = Reply()

    async def is_found_by_meaning() -> bool:
        return memory_of(await ask(client, "conversational", user)).get("by_meaning") is True

    await eventually(is_found_by_meaning, within=8, every=0.1)


async def test_vectors_are_kept_with_the_name_of_their_model(
    client: httpx.AsyncClient, upstream: Upstream, database_url: str
) -> None:
    await tell(client, "conversational", "ida")
    vectors = tables.memory_vectors
    models = select(vectors.c.model).join(tables.memories, tables.memories.c.row == vectors.c.row)

    async def are_there() -> list[str]:
        found = look(database_url, models.where(tables.memories.c.user_id == "ida"))
        return found if len(found) == 2 * len(FACTS) else []

    assert all(model.startswith("hash@127.0.0.1") for model in await eventually(are_there, within=8))
