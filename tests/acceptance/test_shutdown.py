"""SIGTERM: readers are told to come back, running turns get their grace, nothing is lost. One server to its data."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import settings_for
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Screen
from tests.fixtures.talk import Talk, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "server": {"shutdown_grace": "1500ms"},
    "agents": {"assistant": {}, "paced": {"streaming": {"chunk_size": 3, "delay_ms": 50}}},
}


async def test_every_reader_is_told_to_come_back_and_the_turn_ends_in_its_own_time(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=100, delay=0.008)
    screens = Screen(), Screen()
    async with talk.follow() as watching, talk.stream("Hello") as posted:
        await posted.take(20)
        server.ask_to_stop()
        for stream, screen in ((watching, screens[0]), (posted, screens[1])):
            frames = await stream.rest()  # ends properly: a cut connection would raise
            assert "turn_finished" not in [frame.type for frame in frames]
            assert frames[-1].json == {"chunk": "", "type": "reconnect", "after": frames[-2].seq}
            assert frames[-1].id is None
            assert 1000 <= stream.retries[-1] <= 3000
            screen.show(*frames)
    assert await server.ended() == 0
    await server.start()
    for screen in screens:
        async with talk.follow(last_id=screen.cursor) as stream:
            await stream.until("done")
        screen.show(*stream.frames)
        assert "snapshot" not in [frame.type for frame in stream.frames]
        assert screen.text == "".join([f" t{number}" for number in range(100)])
    assert [message["status"] for message in await talk.messages()] == ["completed", "completed"]
    assert len(upstream.requests) == 1


async def test_a_turn_that_outlasts_the_grace_is_interrupted_with_all_its_text(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=30, hang="after_tokens")
    screen = Screen()
    async with talk.stream("Hello") as stream:
        await stream.take(30)
        begin = time.monotonic()
        server.ask_to_stop()
        screen.show(*await stream.rest())
    assert await server.ended() == 0
    assert 1.4 < time.monotonic() - begin < 5
    await server.start()
    async with talk.follow(last_id=screen.cursor) as stream:
        await stream.until("done")
    screen.show(*stream.frames)
    finished = stream.frames[-2].json
    assert (finished["status"], finished["reason"]) == ("interrupted", "shutdown")
    assert screen.text == (await talk.texts())[1] == "".join([f" t{number}" for number in range(30)])
    await upstream.wait_for(active=0)


async def test_further_sigterms_do_not_cut_the_close(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, hang="after_tokens")
    async with talk.stream("Hello") as stream:
        await stream.take(3)
        while server.is_alive:
            with contextlib.suppress(ProcessLookupError):
                server.ask_to_stop()
            await asyncio.sleep(0.05)  # at every point of the close
    assert await server.ended() == 0
    assert server.log[-1].endswith("stopped")
    await server.start()
    [_, answer] = await talk.messages()
    assert answer["status"] == "interrupted"


async def test_a_paced_reader_comes_back_with_the_cursor_of_what_it_was_really_sent(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client, agent="paced")
    upstream.answer(tokens=["a token of some length"] * 4)
    screen = Screen()
    async with talk.stream("Hello") as stream:
        await stream.take(4)
        server.ask_to_stop()
        frames = await stream.rest()
        screen.show(*frames)
    assert str(frames[-1].json["after"]) == frames[-2].id
    assert await server.ended() == 0
    await server.start()
    async with talk.follow("?until=turn_end", last_id=screen.cursor) as stream:
        screen.show(*await stream.rest())
    assert screen.text == "a token of some length" * 4


async def test_a_waiting_post_is_told_that_the_server_stops_and_its_answer_is_there_later(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=50, delay=0.01)
    waiting = asyncio.create_task(talk.post("Hello"))
    await upstream.wait_for(tokens=10)
    server.ask_to_stop()
    refused = await waiting
    assert reason(refused) == (503, "shutting_down")
    details = refused.json()["error"]["details"]
    assert details["partial"].startswith(" t0")
    assert int(refused.headers["retry-after"]) >= 1
    assert await server.ended() == 0
    await server.start()
    assert (await talk.turn(details["turn_id"]))["status"] == "completed"


async def test_queued_turns_wait_for_the_next_start(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=30, delay=0.01)
    await talk.start("one")
    second = await talk.start("two")
    await upstream.wait_for(tokens=3)
    assert await server.stop() == 0
    assert len(upstream.requests) == 1
    await server.start()
    assert (await talk.finished(second))["status"] == "completed"
    contents = [message["content"] for message in await talk.messages()]
    assert [contents[0], contents[2]] == ["one", "two"]


async def test_a_second_server_on_the_same_data_is_refused_in_one_sentence(
    server: HectorServer, provider: Upstream, tmp_path: Path
) -> None:
    settings = settings_for(
        provider,
        {
            "server": {"shutdown_grace": "200ms"},
            "storage": {"url": server.database_url},
        },
    )
    second = HectorServer(tmp_path, settings)
    assert await second.run_to_end() == 3
    line = next(line for line in second.log if "ERROR" in line)
    assert "Another server" in line
    assert server.base_url in line
    await second.close()


async def test_a_second_server_takes_over_as_soon_as_the_first_has_gone(
    client: httpx.AsyncClient, server: HectorServer, upstream: Upstream, provider: Upstream, tmp_path: Path
) -> None:
    talk = await Talk.begin(client)
    await talk.say("Hello")
    settings = settings_for(
        provider,
        {
            "server": {"shutdown_grace": "10s"},
            "storage": {"url": server.database_url},
        },
    )
    second = HectorServer(tmp_path, settings)
    starting = asyncio.create_task(second.start())
    await second.wait_for_log("configuration")
    assert await server.stop() == 0
    await starting
    try:
        async with httpx.AsyncClient(base_url=second.base_url, trust_env=False) as other:
            assert await Talk(other, talk.session_id).texts() == ["Hello", " t0 t1 t2"]
    finally:
        await second.close()
        await server.start()


async def test_a_stop_under_load_loses_no_accepted_message(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    upstream.default = Reply(tokens=5, delay=0.01)
    talks = [await Talk.begin(client) for _ in range(8)]
    accepted: list[tuple[Talk, str]] = []

    async def send(talk: Talk) -> None:
        try:
            for number in range(1000):
                turn_id = await talk.start(f"message {number}", on_busy="queue")
                accepted.append((talk, turn_id))
        except (AssertionError, httpx.TransportError):
            return  # refused: the queue is full, or the server stops

    sending = [asyncio.create_task(send(talk)) for talk in talks]
    await upstream.wait_for(requests=5)
    assert await server.stop() == 0
    await asyncio.gather(*sending)
    await server.start()
    ends = [(await talk.finished(turn_id))["status"] for talk, turn_id in accepted]
    assert len(ends) > 8
    assert set(ends) <= {"completed", "interrupted"}
    for talk in talks:
        asked = [message["content"] for message in await talk.messages() if message["role"] == "user"]
        assert asked == [f"message {number}" for number in range(len(asked))]
