"""kill -9 in mid-answer: what was said stays but for the last moments, and readers hear what they must take back."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import DONE, Frame, Screen, types_of
from tests.fixtures.talk import Talk, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOST_SECONDS = 0.4
"""Promised is a quarter of a second; a busy test machine may add to that."""


async def kill_in_mid_answer(
    talk: Talk, upstream: Upstream, server: HectorServer, *, tokens: int = 100
) -> tuple[Screen, list[float]]:
    """A reader of a turn whose server is killed: its screen, and when each token reached it."""
    upstream.default = Reply(tokens=10_000, delay=0.005)
    screen, times = Screen(), []
    async with talk.stream("Hello") as stream:
        while len(times) < tokens:
            screen.show(frame := await anext(stream))
            if frame.type == "text":
                times.append(time.monotonic())
        await server.kill()
        times.append(time.monotonic())
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.rest()
    upstream.default = Reply()
    await server.start()
    return screen, times


async def test_a_killed_turn_is_interrupted_and_keeps_its_text_but_for_the_last_moments(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    screen, times = await kill_in_mid_answer(talk, upstream, server)
    turn = await talk.turn(screen.turn)
    assert (turn["status"], turn["reason"]) == ("interrupted", "crash")
    question, answer = await talk.messages()
    assert question["content"] == "Hello"
    assert (answer["status"], answer["turn_id"]) == ("interrupted", screen.turn)
    kept = answer["content"].count(" t")
    assert screen.text.startswith(answer["content"])
    assert kept > 0
    killed = times.pop()
    assert all(killed - times[number] < LOST_SECONDS for number in range(kept, len(times)))


async def test_a_reader_that_comes_back_is_told_the_text_that_stays_and_the_end(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    screen, _ = await kill_in_mid_answer(talk, upstream, server)
    seen = int(str(screen.cursor))
    async with talk.follow(last_id=screen.cursor) as stream:
        await stream.until("done")
    assert [frame.type for frame in stream.frames if frame.type != "text"] == ["snapshot", "turn_finished", "done"]
    snapshot, finished = stream.frames[-3:-1]
    answer = (await talk.messages())[1]
    assert snapshot.json["text"] == answer["content"]
    assert (snapshot.json["turn_id"], snapshot.json["message_id"]) == (screen.turn, answer["message_id"])
    assert (finished.json["status"], finished.json["turn_id"]) == ("interrupted", screen.turn)
    assert seen < snapshot.seq < finished.seq
    screen.show(*stream.frames)
    assert screen.text == answer["content"]


async def test_numbers_that_readers_may_have_seen_are_never_given_again(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    numbers: set[int] = set()
    screen, _ = await kill_in_mid_answer(talk, upstream, server)
    highest = int(str(screen.cursor))
    for _ in range(2):
        frames = await talk.stream_all("again")
        assert frames[0].seq > highest
        assert numbers.isdisjoint(frame.seq for frame in frames[:-1])
        numbers |= {frame.seq for frame in frames[:-1]}
        highest = max(numbers)
        await server.kill()
        await server.start()


async def test_the_next_message_is_answered_and_the_model_knows_what_was_cut_off(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await kill_in_mid_answer(talk, upstream, server, tokens=60)
    kept = (await talk.texts())[1]
    assert (await talk.say("Go on"))["response"] == " t0 t1 t2"
    sent = upstream.requests[-1].json["messages"]
    said = [message["content"] for message in sent if message["role"] != "system"]
    assert said[0] == "Hello"
    assert said[1].startswith(kept)
    assert "restart" in said[1].removeprefix(kept)
    assert said[2] == "Go on"


async def test_a_reader_of_plain_text_cannot_be_told_what_to_take_back_and_is_told_so(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    screen, _ = await kill_in_mid_answer(talk, upstream, server, tokens=60)
    path = f"{talk.path}/messages/stream?frames=text"
    refused = await client.get(path, headers={"Last-Event-ID": str(screen.cursor)})
    assert reason(refused) == (410, "cursor_expired")


async def test_a_late_reader_of_a_killed_turn_ends_up_with_the_stored_text(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    await kill_in_mid_answer(talk, upstream, server, tokens=60)
    screen = Screen()
    screen.show(*[frame for frame in await talk.replay(0) if not frame.is_done])
    assert screen.text == (await talk.texts())[1]


async def test_a_message_that_was_accepted_is_never_lost_and_queued_ones_start_by_themselves(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, hang="after_tokens")
    first = await talk.start("one")
    queued = [await talk.start(message) for message in ("two", "three")]
    await upstream.wait_for(tokens=3)
    await server.kill()
    await server.start()
    assert (await talk.turn(first))["status"] == "interrupted"
    for turn_id in queued:
        assert (await talk.finished(turn_id))["status"] == "completed"
    said = [message["content"] for message in await talk.messages() if message["role"] == "user"]
    assert said == ["one", "two", "three"]
    users = [
        [message["content"] for message in seen.json["messages"] if message["role"] == "user"]
        for seen in upstream.requests
    ]
    assert users == [["one"], ["one", "two"], ["one", "two", "three"]]


async def test_many_sessions_killed_at_once_all_recover(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    upstream.default = Reply(tokens=1000, delay=0.01)
    talks = [await Talk.begin(client) for _ in range(20)]
    turns = [await talk.start("Hello") for talk in talks]
    await upstream.wait_for(active=20)
    await server.kill()
    await server.start()
    await server.wait_for_log("20 turns of the process before were interrupted")
    for talk, turn_id in zip(talks, turns, strict=True):
        assert (await talk.turn(turn_id))["status"] == "interrupted"
        assert (await talk.info())["turn"] is None
    upstream.default = Reply()
    said = await asyncio.gather(*[talk.say("again") for talk in talks])
    assert {answer["response"] for answer in said} == {" t0 t1 t2"}


async def test_a_session_in_memory_is_gone_after_a_crash(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client, ephemeral=True)
    await talk.say("Hello")
    await server.kill()
    await server.start()
    assert reason(await client.get(talk.path)) == (404, "session_not_found")


async def test_a_post_sent_again_after_a_crash_does_not_ask_the_model_twice(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    screen, _ = await kill_in_mid_answer(talk, upstream, server, tokens=60)
    again = await talk.stream_all("Hello", headers={"Last-Event-ID": str(screen.cursor)})
    assert types_of(again)[-3:] == ["snapshot", "turn_finished", "done"]
    assert again[-1] == Frame(DONE)
    assert len(upstream.requests) == 1


async def test_a_session_that_was_to_end_after_its_turn_ends_although_the_turn_was_killed(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, hang="after_tokens")
    turn_id = await talk.start("Hello")
    await upstream.wait_for(tokens=3)
    assert (await talk.end())["ending"] is True
    await server.kill()
    await server.start()

    async def is_ended() -> bool:
        return bool((await talk.info())["status"] == "ended")

    await eventually(is_ended)
    assert (await talk.turn(turn_id))["status"] == "interrupted"
