"""What is too old to be replayed word for word is told as a whole: never a silent gap, never a repeat."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Screen, text_of, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"events": {"retention": "0s"}}


async def let_go(server: HectorServer, *talks: Talk) -> None:
    """Start anew, which sweeps, and wait until the events of these sessions are gone."""
    assert await server.stop() == 0
    await server.start()
    for talk in talks:

        async def is_swept(talk: Talk = talk) -> bool:
            return not good(await talk.client.get(f"{talk.path}/events"))["events"]

        await eventually(is_swept)


async def test_a_cursor_that_is_too_old_gets_one_snapshot_for_each_answer_and_then_goes_on(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    screen = Screen()
    upstream.answer(tokens=20)
    async with talk.stream("one") as stream:
        await stream.take(5)
        screen.show(*stream.frames)
        await stream.rest()
    await talk.say("two")
    await let_go(server, talk)
    async with talk.follow(last_id=screen.cursor) as stream:
        snapshots = [await anext(stream), await anext(stream)]
        await talk.say("three")
        await stream.until("done")
    assert [frame.type for frame in snapshots] == ["snapshot", "snapshot"]
    answers = [message for message in await talk.messages() if message["role"] == "assistant"]
    for frame, answer in zip(snapshots, answers, strict=False):
        assert frame.json == {
            "chunk": "",
            "type": "snapshot",
            "turn_id": answer["turn_id"],
            "message_id": answer["message_id"],
            "text": answer["content"],
        }
        assert frame.seq == answer["seq"]
    assert types_of(stream.frames) == ["snapshot", "turn_started", "text", "turn_finished", "done"]
    screen.show(*stream.frames)
    assert screen.text == "".join([answer["content"] for answer in answers])


async def test_a_cursor_between_two_answers_gets_only_the_later_one(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    first = await talk.stream_all("one")
    await talk.say("two")
    await let_go(server, talk)
    frames = await talk.replay(str(first[-2].id))
    assert [frame.type for frame in frames] == ["snapshot"]
    assert frames[0].json["turn_id"] == (await talk.messages())[-1]["turn_id"]


async def test_a_reader_of_plain_text_is_told_that_its_cursor_is_too_old(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await talk.say("one")
    await let_go(server, talk)
    path = f"{talk.path}/messages/stream?frames=text"
    refused = await client.get(f"{path}&after=2")
    assert reason(refused) == (410, "cursor_expired")
    assert refused.json()["error"]["code"] == "OUT_OF_RANGE"
    last = (await talk.info())["last_seq"]
    async with talk.follow(f"?frames=text&after={last}") as stream:
        await talk.say("two")
        await stream.until("done")
    assert text_of(stream.frames) == " t0 t1 t2"


async def test_from_the_start_of_what_is_kept_means_just_that(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await talk.say("one")
    await let_go(server, talk)
    async with talk.follow("?after=0") as stream:
        await talk.say("two")
        await stream.until("done")
    assert types_of(stream.frames) == ["turn_started", "text", "turn_finished", "done"]
    assert stream.frames[0].json["message"] == "two"
    assert len(await talk.messages()) == 4  # the history stays


async def test_numbers_go_on_where_they_were_although_the_events_are_gone(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    first = await talk.stream_all("one")
    await let_go(server, talk)
    second = await talk.stream_all("two")
    assert second[0].seq > first[-2].seq
