"""DELETE kills a session for good: the model stops, readers are told, everything is erased, the id stays dead."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Frame, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "agents": {"assistant": {}, "other": {}, "paced": {"streaming": {"chunk_size": 1, "delay_ms": 200}}},
    "sessions": {"max_queue": 300},
}

ABORT_SECONDS = 0.5
"""What a busy test machine may take; by itself it is a few milliseconds."""

DOORS = (
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/end"),
    ("POST", "/cancel"),
    ("GET", "/messages"),
    ("POST", "/messages"),
    ("GET", "/messages/stream"),
    ("GET", "/messages/stream?after=0"),
    ("POST", "/messages/stream"),
    ("GET", "/events"),
    ("GET", "/turns/turn_x"),
)


@pytest_asyncio.fixture(loop_scope="module")
async def talk(client: httpx.AsyncClient, upstream: Upstream) -> AsyncIterator[Talk]:
    yield await Talk.begin(client)
    await upstream.wait_for(active=0)


@pytest.mark.database_file
async def test_the_text_of_a_terminated_session_leaves_the_files_by_itself_soon(
    client: httpx.AsyncClient, server: HectorServer, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, title="xyzzyplugh")
    await talk.say("xyzzyplugh")
    kept = await Talk.begin(client)
    await kept.say("frobnicate")

    async def stands(word: bytes) -> bool:
        files = (server.folder / "data").iterdir()
        return any(word in path.read_bytes() for path in files)

    assert await stands(b"xyzzyplugh")
    await talk.terminate()

    async def is_gone() -> bool:
        return not await stands(b"xyzzyplugh")

    await eventually(is_gone)
    assert await stands(b"frobnicate")


async def test_a_terminate_in_mid_stream_ends_every_reader_properly(talk: Talk, upstream: Upstream) -> None:
    upstream.answer(tokens=5, hang="after_tokens")
    async with talk.follow() as watching, talk.stream("Write an essay") as posted:
        await posted.take(5)
        ordered = time.monotonic()
        receipt = await talk.terminate()
        frames = await posted.rest()
        watched = await watching.rest()
    await upstream.wait_for(aborts=1)
    assert upstream.aborts[0].at - ordered < ABORT_SECONDS
    assert types_of(frames) == ["turn_started", "text", "turn_finished", "session_terminated", "done"]
    finished, over = frames[-3], frames[-2]
    assert finished.json == {
        "chunk": "",
        "type": "turn_finished",
        "status": "cancelled",
        "reason": "session_terminated",
        "turn_id": frames[0].json["turn_id"],
        "message_id": finished.json["message_id"],
        "finish_reason": None,
        "usage": None,
        "timings": None,
    }
    assert over.json == {"chunk": "", "type": "session_terminated", "session_id": talk.session_id}
    assert [finished.seq, over.seq] == [7, 8]
    assert frames[-1] == Frame("[DONE]")
    # A follower gets the same; its stream just ends after the last frame of the session.
    assert [frame for frame in watched if not frame.is_done] == frames[:-1]
    assert receipt["last_seq"] == 8


async def test_the_receipt_says_what_was_stopped_and_when(talk: Talk, upstream: Upstream) -> None:
    upstream.answer(tokens=500, delay=0.001)
    turn_id = await talk.start("Write an essay")
    await upstream.wait_for(tokens=20)
    receipt = await talk.terminate()
    assert set(receipt) == {
        "session_id",
        "status",
        "turn_id",
        "last_seq",
        "ordered_at",
        "upstream_closed_at",
        "tokens_after_order",
    }
    assert (receipt["session_id"], receipt["status"]) == (talk.session_id, "terminated")
    assert receipt["turn_id"] == turn_id
    assert receipt["upstream_closed_at"] >= receipt["ordered_at"]
    assert isinstance(receipt["tokens_after_order"], int)
    await upstream.wait_for(aborts=1)
    assert upstream.aborts[0].after_tokens < 500


async def test_a_receipt_of_an_idle_session_names_no_turn(talk: Talk) -> None:
    await talk.say("Hello")
    receipt = await talk.terminate()
    assert (receipt["turn_id"], receipt["upstream_closed_at"], receipt["tokens_after_order"]) == (None, None, 0)


async def test_a_second_terminate_gets_the_receipt_of_the_first(talk: Talk, upstream: Upstream) -> None:
    upstream.answer(hang="after_headers")
    await talk.start("Hello")
    await upstream.wait_for(requests=1)
    receipt = await talk.terminate()
    again = await talk.client.delete(talk.path)
    assert reason(again) == (410, "session_terminated")
    assert again.json()["error"]["code"] == "FAILED_PRECONDITION"
    assert again.json()["error"]["details"] == receipt


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_terminated_session_is_410_at_every_door_and_its_id_is_never_given_again(
    talk: Talk, server: HectorServer, restarts: bool
) -> None:
    await talk.say("Hello")
    receipt = await talk.terminate()
    if restarts:
        assert await server.stop() == 0
        await server.start()
    client = talk.client
    for method, door in DOORS:
        body = {"message": "Are you still there?"} if method in ("POST", "PATCH") else None
        refused = await client.request(method, talk.path + door, json=body)
        assert reason(refused) == (410, "session_terminated"), (method, door)
        assert refused.json()["error"]["details"] == receipt
    again = await client.post("/agents/assistant/sessions", json={"session_id": talk.session_id})
    assert reason(again) == (410, "session_terminated")
    elsewhere = await client.post("/agents/other/sessions", json={"session_id": talk.session_id})
    assert reason(elsewhere) == (409, "session_exists")
    assert reason(await client.get(f"/agents/other/sessions/{talk.session_id}")) == (404, "session_not_found")
    listed = good(await client.get("/agents/assistant/sessions?limit=200"))["sessions"]
    assert talk.session_id not in [session["session_id"] for session in listed]


@pytest.mark.database_file
async def test_nothing_of_a_terminated_session_is_left_in_the_database(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    secret = "the-word-that-must-go"
    talk = await Talk.begin(client, session_id=f"id-{secret}", title=secret, metadata={secret: secret})
    await talk.say(secret)
    upstream.answer(tokens=[secret] * 3, hang="after_tokens")
    async with talk.stream(secret) as stream:
        await stream.take(3)
        await talk.terminate()
        await stream.rest()
    database = sqlite3.connect(server.folder / "data" / "hector.db")
    try:
        left = "\n".join(database.iterdump())
    finally:
        database.close()
    assert secret not in left
    assert "tombstones" in left


async def test_queued_turns_are_ended_too_the_running_one_first(talk: Talk, upstream: Upstream) -> None:
    upstream.answer(tokens=2, hang="after_tokens")
    async with talk.follow() as watching, talk.stream("one") as posted:
        await posted.take(2)
        async with talk.stream("two") as queued:
            await queued.until("turn_queued")
            third = await talk.start("three")
            await talk.terminate()
            first, second, watched = await posted.rest(), await queued.rest(), await watching.rest()
    turn_ids = [first[0].json["turn_id"], second[0].json["turn_id"], third]
    ends = [frame.json for frame in watched if frame.type == "turn_finished"]
    assert [end["turn_id"] for end in ends] == turn_ids
    assert {(end["status"], end["reason"]) for end in ends} == {("cancelled", "session_terminated")}
    assert watched[-1].type == "session_terminated"
    for frames, turn_id in ((first, turn_ids[0]), (second, turn_ids[1])):
        assert types_of(frames)[-3:] == ["turn_finished", "session_terminated", "done"]
        assert [frame.json["turn_id"] for frame in frames if frame.type == "turn_finished"] == [turn_id]
    assert len(upstream.requests) == 1


async def test_a_waiting_post_is_told_that_its_session_is_gone(talk: Talk, upstream: Upstream) -> None:
    upstream.answer(tokens=["some", " text"], hang="after_tokens")
    waiting = asyncio.create_task(talk.post("Hello"))
    await upstream.wait_for(tokens=2)
    await talk.terminate()
    refused = await waiting
    assert reason(refused) == (410, "session_terminated")


async def test_paced_text_that_was_not_sent_yet_is_dropped(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="paced")
    upstream.answer(tokens=["a very long text that nobody will see"], hang="after_tokens")
    async with talk.stream("Hello") as stream:
        await stream.take(2)
        await talk.terminate()
        frames = await stream.rest()
    assert len([frame for frame in frames if frame.type == "text"]) <= 4
    assert types_of(frames)[-3:] == ["turn_finished", "session_terminated", "done"]


async def test_a_terminate_before_the_model_has_answered_stops_the_call(talk: Talk, upstream: Upstream) -> None:
    upstream.answer(hang="before_headers")
    async with talk.stream("Hello") as stream:
        await upstream.wait_for(requests=1)
        ordered = time.monotonic()
        await talk.terminate()
        frames = await stream.rest()
    await upstream.wait_for(aborts=1)
    assert upstream.aborts[0].at - ordered < ABORT_SECONDS
    assert types_of(frames) == ["turn_started", "turn_finished", "session_terminated", "done"]


async def test_a_terminate_from_one_client_beats_a_message_from_another(talk: Talk) -> None:
    """Whoever comes second is told 410; nobody brings the session back."""
    deleted, *answers = await asyncio.gather(
        talk.client.delete(talk.path), *[talk.post(f"message {number}") for number in range(10)]
    )
    assert deleted.status_code == 200
    for answer in answers:
        assert answer.status_code == 200 or reason(answer) == (410, "session_terminated")
    assert reason(await talk.client.get(talk.path)) == (410, "session_terminated")


async def test_a_one_shot_can_be_terminated_by_the_id_in_its_header(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    body = {"message": "Hello"}
    async with client.stream("POST", "/agents/assistant/messages/stream", json=body) as response:
        talk = Talk(client, response.headers["x-session-id"])
        await upstream.wait_for(tokens=3)
        assert (await talk.terminate())["status"] == "terminated"
        text = (await response.aread()).decode()
    assert text.endswith("data: [DONE]\n\n")
    await upstream.wait_for(aborts=1)
    assert await server.stop() == 0
    await server.start()
    assert reason(await client.get(talk.path)) == (410, "session_terminated")


async def test_no_stop_at_any_moment_leaves_a_turn_or_a_connection_behind(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    """200 turns stopped at random moments by a random mix of orders, some given twice."""
    upstream.default = Reply(tokens=40, delay=0.001)
    gate = asyncio.Semaphore(16)

    async def stop_somehow(number: int) -> str:
        async with gate:
            talk = await Talk.begin(client)
            if number % 3 == 0:
                return await stop_stream(talk)
            await talk.start("Hello")
            await asyncio.sleep(random.random() * 0.06)  # the moment is the point of this test
            orders = random.choice(["c", "cc", "t", "tt", "ct", "tc", "cct"])
            answers = await asyncio.gather(
                *[client.delete(talk.path) if order == "t" else client.post(f"{talk.path}/cancel") for order in orders]
            )
            assert all(answer.status_code in (200, 410) for answer in answers)
            if "t" in orders:
                assert sorted(answer.status_code for answer in answers if answer.request.method == "DELETE")[0] == 200
                assert reason(await client.get(talk.path)) == (410, "session_terminated")
                return "terminated"
            return str((await talk.info())["turn"])

    async def stop_stream(talk: Talk) -> str:
        async with talk.stream("Hello") as stream:
            await stream.take(random.randrange(1, 30))
            await talk.terminate()
            frames = await stream.rest()
        assert [frame.type for frame in frames].count("turn_finished") == 1
        assert frames[-1].is_done
        return "terminated"

    ends = await asyncio.gather(*[stop_somehow(number) for number in range(200)])
    assert set(ends) <= {"terminated", "None"}
    await upstream.wait_for(active=0)
    assert upstream.open_connections <= 20  # what a pool keeps for at most 16 at a time, not one for each stop
    ready = await client.get("/ready")
    assert ready.status_code == 200
