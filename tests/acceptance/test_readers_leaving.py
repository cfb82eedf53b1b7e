"""When the last reader of a running turn leaves, the turn goes on for a while, and only for a while."""

from __future__ import annotations

import asyncio
import contextlib
import time

import httpx
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.sse import open_stream
from tests.fixtures.talk import Talk, good
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRACE = 0.4
SETTINGS = {
    "agents": {
        "assistant": {"streaming": {"disconnect_grace": "400ms"}},
        "strict": {"streaming": {"disconnect_grace": 0}},
        "patient": {"streaming": {"disconnect_grace": "never"}},
    }
}


async def leave_after(talk: Talk, tokens: int) -> tuple[str, str | None]:
    """Read some tokens of a new turn and leave; the turn's id and the cursor."""
    async with talk.stream("Hello") as stream:
        await stream.take(tokens)
        return stream.frames[0].json["turn_id"], stream.cursor


async def status_of(talk: Talk, turn_id: str) -> tuple[str, str | None]:
    turn = await talk.turn(turn_id)
    return turn["status"], turn.get("reason")


async def test_a_turn_that_nobody_reads_any_more_is_cancelled_after_the_grace_and_keeps_its_text(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, hang="after_tokens")
    turn_id, _ = await leave_after(talk, 3)
    left = time.monotonic()
    await upstream.wait_for(aborts=1)
    assert GRACE * 0.9 < upstream.aborts[0].at - left < GRACE + 1
    await talk.cancel()  # returns when the turn is over
    assert await status_of(talk, turn_id) == ("cancelled", "disconnected")
    assert (await talk.texts())[1] == " t0 t1 t2"


async def test_a_reader_that_comes_back_in_time_finds_the_turn_going_on(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=120, delay=0.01)
    turn_id, cursor = await leave_after(talk, 3)
    await asyncio.sleep(GRACE / 2)
    async with talk.follow("?until=turn_end", last_id=cursor) as stream:
        await stream.rest()
    assert await status_of(talk, turn_id) == ("completed", None)


async def test_a_background_turn_needs_no_reader(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="strict")
    upstream.answer(tokens=30, delay=0.01)
    turn_id = await talk.start("Hello")
    async with talk.follow() as stream:
        await stream.take(2)
    await upstream.wait_for(active=0)
    assert (await talk.finished(turn_id))["status"] == "completed"


async def test_without_grace_the_turn_stops_with_its_reader(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="strict")
    upstream.answer(tokens=3, hang="after_tokens")
    await leave_after(talk, 3)
    left = time.monotonic()
    await upstream.wait_for(aborts=1)
    assert upstream.aborts[0].at - left < 1
    assert (await talk.texts())[1] == " t0 t1 t2"


async def test_a_patient_agent_finishes_for_nobody(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="patient")
    upstream.answer(tokens=80, delay=0.01)
    turn_id, _ = await leave_after(talk, 3)
    await upstream.wait_for(active=0)
    assert (await talk.finished(turn_id))["status"] == "completed"
    assert not upstream.aborts


async def test_one_reader_of_two_is_enough(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="strict")
    upstream.answer(tokens=40, delay=0.01)
    async with talk.follow() as watching:
        turn_id, _ = await leave_after(talk, 3)
        assert (await watching.until("turn_finished")).json["status"] == "completed"
    assert await status_of(talk, turn_id) == ("completed", None)


async def test_a_follower_that_was_there_before_counts_for_a_turn_that_starts(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, agent="strict")
    upstream.answer(tokens=20, delay=0.01)
    async with talk.follow() as watching:
        with contextlib.suppress(httpx.ReadTimeout):
            path = f"{talk.path}/messages"
            await client.post(path, json={"message": "Hello"}, timeout=0.1)
        assert (await watching.until("turn_finished")).json["status"] == "completed"


async def test_a_waiting_post_whose_client_leaves_is_a_reader_that_leaves(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, hang="after_tokens")
    waiting = asyncio.create_task(talk.post("Hello"))
    await upstream.wait_for(requests=1, tokens=3)
    left = time.monotonic()
    waiting.cancel()
    await upstream.wait_for(aborts=1)
    assert GRACE * 0.9 < upstream.aborts[0].at - left < GRACE + 1
    await talk.cancel()
    kept = (await talk.messages())[-1]
    assert (kept["content"], kept["status"]) == (" t0 t1 t2", "cancelled")


async def test_a_message_without_a_session_stops_with_its_client(client: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    body = {"message": "Hello"}
    async with open_stream(client, "POST", "/agents/patient/messages/stream", json=body) as stream:
        await stream.take(3)
    left = time.monotonic()
    await upstream.wait_for(aborts=1)
    assert upstream.aborts[0].at - left < 1
    upstream.answer(tokens=3, hang="after_tokens")
    waiting = asyncio.create_task(client.post("/agents/patient/messages", json=body))
    await upstream.wait_for(requests=2)
    waiting.cancel()
    await upstream.wait_for(aborts=2)


async def test_the_grace_does_not_run_while_a_turn_is_queued(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, agent="strict")
    upstream.answer(tokens=3, hang="after_tokens")
    upstream.answer(tokens=3, hang="after_tokens")
    first = await talk.start("first")  # in the background: nobody has to read
    async with talk.stream("second") as stream:
        queued = (await stream.until("turn_queued")).json["turn_id"]
    await upstream.wait_for(requests=1, tokens=3)
    assert await status_of(talk, queued) == ("queued", None)
    assert await status_of(talk, first) == ("running", None)
    await talk.cancel()
    # It starts without a reader, so its grace begins, and is over, at that moment.

    async def is_cancelled() -> bool:
        return await status_of(talk, queued) == ("cancelled", "disconnected")

    await eventually(is_cancelled)


async def test_a_cut_connection_leaves_the_whole_answer_to_be_read_later(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    """A train tunnel: the text said without a reader is neither lost nor doubled."""
    talk = await Talk.begin(client)
    upstream.answer(tokens=30, delay=0.01)
    turn_id, _ = await leave_after(talk, 5)
    turn = await talk.finished(turn_id)
    assert turn["status"] == "completed"
    assert len(upstream.requests) == 1
    assert good(await client.get(talk.path))["message_count"] == 2
