"""Where an attached stream begins: at the reader's own cursor, or at the start of the turn that runs."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"agents": {"assistant": {}, "paced": {"streaming": {"chunk_size": 7, "delay_ms": 5}}}}


async def test_a_turn_that_waited_is_followed_from_its_start_not_from_its_place_in_the_queue(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=5, hang="after_tokens")
    async with talk.stream("first") as first:
        await first.take(2)
        second = await talk.start("second")
        await first.take(3)
        upstream.answer(tokens=5, hang="after_tokens")
        await client.post(f"{talk.path}/cancel")
    async with talk.follow() as follower:
        frames = await follower.take(1)
        started = [frame for frame in follower.frames if frame.type == "turn_started"]
    assert [frame.json["turn_id"] for frame in started] == [second]
    assert len([frame for frame in follower.frames if frame.type == "text"]) == len(frames)


async def test_a_reader_inside_an_event_is_told_its_own_cursor_first(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, agent="paced")
    upstream.answer(tokens=["twelve chars"] * 3)
    await talk.say("Hello")
    path = f"{talk.path}/messages/stream"
    async with client.stream("GET", path, headers={"Last-Event-ID": "3:7"}) as response:
        opening = await anext(response.aiter_text())
    assert opening == ": cursor 3:7\n"


async def test_the_info_names_the_messages_that_wait(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=1, hang="after_tokens")
    await talk.start("first")
    await talk.start("second")
    info = await talk.info()
    assert [turn["message"] for turn in info["queue"]] == ["second"]
    await client.post(f"{talk.path}/cancel", json={"all": True})
