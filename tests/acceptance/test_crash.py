"""kill -9 in mid-answer: what was said stays but for the last moments, and readers hear what they must take back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Screen, types_of
from tests.fixtures.talk import Talk, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOST_SECONDS = 0.4
"""Promised is a quarter of a second; a busy test machine may add to that."""


@dataclass
class Killed:
    """A session whose server was killed in mid-answer, and what its reader had seen of it by then."""

    talk: Talk
    screen: Screen = field(default_factory=Screen)
    times: list[float] = field(default_factory=list)
    """When each token reached the reader."""

    async def read_until_cut(self, ready: asyncio.Event) -> None:
        """`ready` is set when a hundred tokens were seen."""
        async with self.talk.stream("Hello") as stream:
            try:
                async for frame in stream:
                    self.screen.show(frame)
                    if frame.type == "text":
                        self.times.append(time.monotonic())
                    if len(self.times) == 100:
                        ready.set()
            except httpx.RemoteProtocolError:
                return
        raise AssertionError("the stream ended as if nothing had happened")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(process: HectorServer, provider: Upstream) -> AsyncIterator[tuple[list[Killed], float]]:
    """One kill, six sessions; and the moment of the kill."""
    provider.default = Reply(tokens=10_000, delay=0.005)
    async with httpx.AsyncClient(base_url=process.base_url, timeout=15, trust_env=False) as client:
        sessions = [Killed(await Talk.begin(client)) for _ in range(6)]
        ready = [asyncio.Event() for _ in sessions]
        reading = [asyncio.create_task(one.read_until_cut(its)) for one, its in zip(sessions, ready, strict=True)]
        for event in ready:
            await event.wait()
        await process.kill()
        moment = time.monotonic()
        await asyncio.gather(*reading)
        provider.reset()
        await process.start()
        yield sessions, moment


@pytest.fixture
def killed(scene: tuple[list[Killed], float], upstream: Upstream) -> Killed:
    """One of them, for one test."""
    return scene[0].pop()


async def test_a_killed_turn_is_interrupted_and_keeps_its_text_but_for_the_last_moments(
    killed: Killed, scene: tuple[list[Killed], float]
) -> None:
    turn = await killed.talk.turn(killed.screen.turn)
    assert (turn["status"], turn["reason"]) == ("interrupted", "crash")
    question, answer = await killed.talk.messages()
    assert question["content"] == "Hello"
    assert (answer["status"], answer["turn_id"]) == ("interrupted", killed.screen.turn)
    assert killed.screen.text.startswith(answer["content"])
    kept = answer["content"].count(" t")
    assert kept > 0
    assert all(scene[1] - seen < LOST_SECONDS for seen in killed.times[kept:])
    assert turn["usage"]["source"] == "estimated"
    assert turn["usage"]["completion_tokens"] >= kept, "counted from what is kept"
    assert turn["usage"]["prompt_tokens"] > 0
    assert (await killed.talk.info())["usage"]["total_tokens"] == turn["usage"]["total_tokens"]


async def test_a_reader_that_comes_back_is_told_the_text_that_stays_and_the_end(killed: Killed) -> None:
    talk, screen = killed.talk, killed.screen
    seen = int(str(screen.cursor))
    async with talk.follow(last_id=screen.cursor) as stream:
        await stream.until("done")
    assert [frame.type for frame in stream.frames] == ["snapshot", "turn_finished", "done"]
    snapshot, finished, _ = stream.frames
    answer = (await talk.messages())[1]
    assert snapshot.json["text"] == answer["content"]
    assert (snapshot.json["turn_id"], snapshot.json["message_id"]) == (screen.turn, answer["message_id"])
    assert (finished.json["status"], finished.json["turn_id"]) == ("interrupted", screen.turn)
    assert seen < snapshot.seq < finished.seq
    screen.show(*stream.frames)
    assert screen.text == answer["content"]


async def test_numbers_that_readers_may_have_seen_are_never_given_again(killed: Killed, server: HectorServer) -> None:
    highest = int(str(killed.screen.cursor))
    first = await killed.talk.stream_all("again")
    assert first[0].seq > highest
    await server.kill()
    await server.start()
    second = await killed.talk.stream_all("and again")
    assert second[0].seq > first[-2].seq


async def test_the_next_message_is_answered_and_the_model_knows_what_was_cut_off(
    killed: Killed, upstream: Upstream
) -> None:
    kept = (await killed.talk.texts())[1]
    assert (await killed.talk.say("Go on"))["response"] == " t0 t1 t2"
    sent = upstream.requests[-1].json["messages"]
    said = [message["content"] for message in sent if message["role"] != "system"]
    assert said[0] == "Hello"
    assert said[1].startswith(kept)
    assert "restart" in said[1].removeprefix(kept)
    assert said[2] == "Go on"


async def test_a_reader_of_plain_text_cannot_be_told_what_to_take_back_and_is_told_so(killed: Killed) -> None:
    path = f"{killed.talk.path}/messages/stream?frames=text"
    refused = await killed.talk.client.get(path, headers={"Last-Event-ID": str(killed.screen.cursor)})
    assert reason(refused) == (410, "cursor_expired")


async def test_whoever_reads_it_all_later_ends_up_with_the_stored_text(killed: Killed, upstream: Upstream) -> None:
    stored = (await killed.talk.texts())[1]
    for frames in (
        await killed.talk.replay(0),
        await killed.talk.stream_all("Hello", headers={"Last-Event-ID": str(killed.screen.cursor)}),
    ):
        screen = Screen()
        screen.show(*[frame for frame in frames if not frame.is_done])
        assert screen.text == stored
        assert types_of(frames)[-3:] == ["snapshot", "turn_finished", "done"]
    assert not upstream.requests  # a POST sent again does not ask the model twice


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
        [text for message in seen.json["messages"] if message["role"] == "user" for text in message["content"].split()]
        for seen in upstream.requests
    ]
    assert users == [["one"], ["one", "two"], ["one", "two", "three"]], "joined where no answer was kept between them"


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


async def test_a_session_that_was_to_end_after_its_turn_is_ended_and_one_in_memory_is_gone(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    in_memory = await Talk.begin(client, ephemeral=True)
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
    assert reason(await client.get(in_memory.path)) == (404, "session_not_found")
