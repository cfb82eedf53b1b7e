"""What is too old to be replayed word for word is told as a whole: never a silent gap, never a repeat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Frame, Screen, text_of, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"events": {"retention": "0s"}}


@dataclass(frozen=True)
class Old:
    """A session whose events were let go, and the frames of its two answers as they were."""

    talk: Talk
    first: list[Frame]
    second: list[Frame]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prepared(process: HectorServer) -> AsyncIterator[list[Old]]:
    """Six such sessions: the server sweeps when it starts."""
    made = []
    async with httpx.AsyncClient(base_url=process.base_url, trust_env=False) as client:
        for _ in range(6):
            talk = await Talk.begin(client)
            made.append(Old(talk, await talk.stream_all("one"), await talk.stream_all("two")))
        assert await process.stop() == 0
        await process.start()
        for old in made:

            async def is_swept(talk: Talk = old.talk) -> bool:
                return not good(await client.get(f"{talk.path}/events"))["events"]

            await eventually(is_swept)
        yield made


@pytest.fixture
def old(prepared: list[Old], upstream: Upstream) -> Old:
    """One of them, for one test."""
    return prepared.pop()


async def test_a_cursor_that_is_too_old_gets_one_snapshot_for_each_answer_and_then_goes_on(old: Old) -> None:
    talk, screen = old.talk, Screen()
    screen.show(*old.first[:3])
    async with talk.follow(last_id=screen.cursor) as stream:
        snapshots = [await anext(stream), await anext(stream)]
        await talk.say("three")
        await stream.until("done")
    answers = [message for message in await talk.messages() if message["role"] == "assistant"]
    for frame, answer in zip(snapshots, answers[:2], strict=True):
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


async def test_a_cursor_between_two_answers_gets_only_the_later_one(old: Old) -> None:
    frames = await old.talk.replay(str(old.first[-2].id))
    assert [frame.type for frame in frames] == ["snapshot"]
    assert frames[0].json["turn_id"] == old.second[0].json["turn_id"]


async def test_a_reader_of_plain_text_is_told_that_its_cursor_is_too_old(old: Old) -> None:
    talk = old.talk
    refused = await talk.client.get(f"{talk.path}/messages/stream?frames=text&after=2")
    assert reason(refused) == (410, "cursor_expired")
    assert refused.json()["error"]["code"] == "OUT_OF_RANGE"
    async with talk.follow(f"?frames=text&after={(await talk.info())['last_seq']}") as stream:
        await talk.say("three")
        await stream.until("done")
    assert text_of(stream.frames) == " t0 t1 t2"


async def test_from_the_start_of_what_is_kept_means_just_that(old: Old) -> None:
    talk = old.talk
    async with talk.follow("?after=0") as stream:
        await talk.say("three")
        await stream.until("done")
    assert types_of(stream.frames) == ["turn_started", "text", "turn_finished", "done"]
    assert stream.frames[0].json["message"] == "three"
    assert len(await talk.messages()) == 6  # the history stays


async def test_numbers_go_on_where_they_were_although_the_events_are_gone(old: Old) -> None:
    third = await old.talk.stream_all("three")
    assert third[0].seq > old.second[-2].seq


async def test_a_post_sent_again_with_an_old_cursor_is_told_the_stored_answer(old: Old, upstream: Upstream) -> None:
    again = await old.talk.stream_all("two", headers={"Last-Event-ID": str(old.second[1].id)})
    assert types_of(again) == ["snapshot", "done"]
    assert again[0].json["text"] == text_of(old.second)
    assert not upstream.requests
