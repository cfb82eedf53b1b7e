"""A disk that takes nothing more: callers are told, nothing that was accepted is lost, and it works again by itself."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import text_of, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.database_file]


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def lifted(server: HectorServer) -> AsyncIterator[None]:
    yield
    if server.is_alive:
        server.limit_file_size(None)


async def test_a_new_message_is_refused_and_can_be_sent_again_later(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await talk.say("before")
    server.limit_file_size(0)
    for _ in range(2):
        refused = await talk.post("during")
        assert reason(refused) == (503, "storage_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    streamed = await client.post(f"{talk.path}/messages/stream", json={"message": "during"})
    assert reason(streamed) == (503, "storage_unavailable")
    assert reason(await client.post("/agents/assistant/sessions")) == (503, "storage_unavailable")
    assert len(upstream.requests) == 1
    assert await talk.texts() == ["before", " t0 t1 t2"]  # reading goes on
    server.limit_file_size(None)
    frames = await talk.stream_all("after")
    assert types_of(frames) == ["turn_started", "text", "turn_finished", "done"]
    assert await talk.texts() == ["before", " t0 t1 t2", "after", " t0 t1 t2"]


async def test_a_message_without_a_session_needs_no_disk(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    server.limit_file_size(0)
    said = good(await client.post("/agents/assistant/messages", json={"message": "Hello"}))
    assert said["response"] == " t0 t1 t2"


async def test_an_answer_under_way_reaches_its_reader_and_is_stored_once_there_is_room(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=60, delay=0.005)
    async with talk.stream("Hello") as stream:
        await stream.take(5)
        server.limit_file_size(0)
        await stream.take(55)
        server.limit_file_size(None)
        frames = await stream.rest()
    text = "".join([f" t{number}" for number in range(60)])
    assert text_of(frames) == text
    assert frames[-2].json["status"] == "completed"
    assert await talk.texts() == ["Hello", text]


async def test_readers_are_told_when_an_answer_cannot_be_stored_for_long(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=10, delay=0.01)
    async with talk.stream("Hello") as stream:
        await stream.take(2)
        server.limit_file_size(0)
        frames = await stream.rest()
    assert types_of(frames)[-3:] == ["error", "turn_finished", "done"]
    assert frames[-3].json["reason"] == "storage_unavailable"
    assert (frames[-2].json["status"], frames[-2].json["reason"]) == ("failed", "storage_unavailable")
    server.limit_file_size(None)

    async def is_stored() -> bool:
        return len([one for one in await talk.messages() if one["status"] != "running"]) == 2

    await eventually(is_stored)
    assert (await talk.texts())[1] == text_of(frames)
    assert await server.stop() == 0
    await server.start()
    assert (await talk.texts())[1] == text_of(frames)
    assert (await talk.say("again"))["response"] == " t0 t1 t2"


async def test_a_waiting_post_is_told_too(client: httpx.AsyncClient, upstream: Upstream, server: HectorServer) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=10, delay=0.02)
    waiting = asyncio.create_task(talk.post("Hello"))
    await upstream.wait_for(requests=1, tokens=2)
    server.limit_file_size(0)
    refused = await waiting
    assert reason(refused) == (503, "storage_unavailable")
    assert refused.json()["error"]["details"]["partial"].startswith(" t0")


async def test_a_server_that_is_killed_while_the_disk_is_full_has_lost_no_message(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await talk.say("before")
    upstream.answer(tokens=5, hang="after_tokens")
    turn_id = await talk.start("during")
    await upstream.wait_for(requests=2)
    server.limit_file_size(0)
    assert reason(await talk.post("refused")) == (503, "storage_unavailable")
    await server.kill()
    await server.start()
    assert (await talk.turn(turn_id))["status"] == "interrupted"
    users = [message["content"] for message in await talk.messages() if message["role"] == "user"]
    assert users == ["before", "during"]


async def test_a_terminate_stops_the_answer_although_it_cannot_be_written_yet(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=5, hang="after_tokens")
    async with talk.stream("Hello") as stream:
        await stream.take(5)
        server.limit_file_size(0)
        refused = await client.delete(talk.path)
        frames = await stream.rest()
    assert reason(refused) == (503, "storage_unavailable")
    await upstream.wait_for(aborts=1)
    assert types_of(frames)[-3:] == ["turn_finished", "session_terminated", "done"]
    for method in ("GET", "DELETE", "DELETE"):  # nothing is promised that is not stored
        assert reason(await client.request(method, talk.path)) == (503, "storage_unavailable")
    assert "hector_terminations_unstored 1.0" in (await client.get("/metrics")).text
    server.limit_file_size(None)
    assert reason(await client.delete(talk.path)) == (410, "session_terminated")

    async def is_buried() -> bool:
        with contextlib.closing(sqlite3.connect(server.folder / "data" / "hector.db")) as database:
            return not database.execute("select * from sessions where session_id = ?", [talk.session_id]).fetchall()

    await eventually(is_buried)
    assert await server.stop() == 0
    await server.start()
    assert reason(await client.get(talk.path)) == (410, "session_terminated")


async def test_a_terminate_that_could_not_be_written_is_written_by_the_shutdown(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await talk.say("secret")
    waiting = await Talk.begin(client)
    upstream.answer(tokens=5, hang="after_tokens")
    posted = asyncio.create_task(waiting.post("Hello"))
    await upstream.wait_for(requests=2, tokens=5)
    server.limit_file_size(0)
    for one in (talk, waiting):
        for _ in range(2):
            assert reason(await client.delete(one.path)) == (503, "storage_unavailable")
    assert reason(await posted) == (503, "storage_unavailable")
    server.limit_file_size(None)
    begin = len(server.log)
    assert await server.stop() == 0
    await server.start()
    for one in (talk, waiting):
        assert reason(await client.get(one.path)) == (410, "session_terminated")
    assert not [line for line in server.log[begin:] if "are not erased" in line]


async def test_a_shutdown_on_a_full_disk_names_the_sessions_that_come_back(
    client: httpx.AsyncClient, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    server.limit_file_size(0)
    assert reason(await client.delete(talk.path)) == (503, "storage_unavailable")
    assert await server.stop() == 0
    assert talk.session_id in await server.wait_for_log("terminated sessions are not erased")
    await server.start()


async def test_the_server_says_that_it_cannot_work_and_that_it_can_again(
    client: httpx.AsyncClient, server: HectorServer
) -> None:
    async def is_ready() -> bool:
        return (await client.get("/ready")).status_code == 200

    async def is_not_ready() -> bool:
        return not await is_ready()

    assert await is_ready()
    server.limit_file_size(0)
    await client.post("/agents/assistant/sessions")
    await eventually(is_not_ready)
    assert (await client.get("/health")).status_code == 200
    server.limit_file_size(None)
    await eventually(is_ready)
