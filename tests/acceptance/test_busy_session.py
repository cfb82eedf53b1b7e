"""A second message while the first is being answered: it waits, is refused, or takes the place; and cancelling."""

from __future__ import annotations

import asyncio
import itertools

import httpx
import pytest

from tests.fixtures.sse import text_of, types_of
from tests.fixtures.talk import Talk, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"sessions": {"max_queue": 3}}


async def busy(client: httpx.AsyncClient, upstream: Upstream, *, said: int = 2) -> tuple[Talk, str]:
    """A session whose turn has said some tokens and goes on until it is stopped."""
    talk = await Talk.begin(client)
    upstream.answer(tokens=said, hang="after_tokens")
    turn_id = await talk.start("first")
    async with talk.follow() as stream:
        await stream.take(said)
    return talk, turn_id


def asked(upstream: Upstream) -> list[str]:
    """The newest message of each request to the model."""
    return [seen.json["messages"][-1]["content"] for seen in upstream.requests]


async def test_a_second_message_waits_for_the_first_answer(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.default = Reply(tokens=10, delay=0.005)
    first, second, third = await asyncio.gather(*[talk.stream_all(message) for message in ("one", "two", "three")])
    assert await talk.texts() == [
        part for message in asked(upstream) for part in (message, "".join([f" t{number}" for number in range(10)]))
    ]
    assert upstream.active == 0
    shapes = sorted(types_of(frames) for frames in (first, second, third))
    answered = ["turn_started", "text", "turn_finished", "done"]
    assert shapes == [["turn_queued", *answered], ["turn_queued", *answered], answered]
    history = upstream.requests[-1].json["messages"]
    assert [message["role"] for message in history if message["role"] != "system"] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]


async def test_a_stream_shows_its_own_turn_only(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["not", " yours"] * 20, delay=0.005)
    await talk.start("first")
    frames = await talk.stream_all("second")
    assert types_of(frames) == ["turn_queued", "turn_started", "text", "turn_finished", "done"]
    assert text_of(frames) == " t0 t1 t2"
    assert len({frame.json["turn_id"] for frame in frames if "turn" in frame.type}) == 1


async def test_a_queued_message_enters_the_history_when_its_turn_starts(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk, _ = await busy(client, upstream)
    queued = await talk.start("second")
    assert (await talk.turn(queued))["status"] == "queued"
    info = await talk.info()
    assert (info["queued"], info["turn"]["message"], info["turn"]["partial_text"]) == (1, "first", " t0 t1")
    assert [message["content"] for message in await talk.messages() if message["role"] == "user"] == ["first"]
    await talk.cancel()
    await talk.finished(queued)
    users = [message for message in await talk.messages() if message["role"] == "user"]
    assert [message["content"] for message in users] == ["first", "second"]


async def test_a_full_queue_refuses_and_says_when_to_come_back(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk, _ = await busy(client, upstream)
    for message in ("a", "b", "c"):
        await talk.start(message)
    refused = await talk.post("d")
    assert reason(refused) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    streamed = await client.post(f"{talk.path}/messages/stream", json={"message": "d"})
    assert reason(streamed) == (429, "queue_full")
    await talk.cancel(all=True)
    assert (await talk.info())["queued"] == 0


async def test_a_message_may_ask_to_be_refused_instead_of_waiting(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk, turn_id = await busy(client, upstream)
    refused = await talk.post("second", on_busy="reject")
    assert reason(refused) == (409, "session_busy")
    assert refused.json()["error"]["details"]["turn_id"] == turn_id
    await talk.cancel()
    assert (await talk.say("second", on_busy="reject"))["response"]
    assert "second" in await talk.texts()


async def test_a_message_may_take_the_place_of_the_running_turn(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk, first = await busy(client, upstream)
    third = await talk.start("third, but queued first")
    said = await talk.say("second", on_busy="replace")
    assert said["response"] == " t0 t1 t2"
    await upstream.wait_for(aborts=1)
    replaced = await talk.turn(first)
    assert (replaced["status"], replaced["reason"]) == ("cancelled", "replaced")
    await talk.finished(third)
    assert asked(upstream) == ["first", "second", "third, but queued first"]
    assert (await talk.texts())[1] == " t0 t1"


async def test_other_sessions_do_not_wait(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk, _ = await busy(client, upstream)
    other = await Talk.begin(client)
    assert (await other.say("Hello"))["response"] == " t0 t1 t2"
    await talk.cancel()


async def test_a_cancel_stops_the_running_turn_and_keeps_what_was_said(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk, turn_id = await busy(client, upstream)
    async with talk.follow() as stream:
        await stream.take(2)
        cancelled = await talk.cancel()
        finished = await stream.until("turn_finished")
    assert (cancelled["turn_id"], cancelled["status"], cancelled["reason"]) == (turn_id, "cancelled", "cancelled")
    assert (finished.json["status"], finished.json["reason"]) == ("cancelled", "cancelled")
    await upstream.wait_for(aborts=1)
    assert (await talk.texts())[1] == " t0 t1"
    assert await talk.cancel() is None
    assert await talk.cancel(turn_id=turn_id) is None


async def test_a_cancel_of_an_idle_session_is_no_error(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client)
    for _ in range(2):
        assert await talk.cancel() is None
    unknown = await client.post(f"{talk.path}/cancel", json={"turn_id": "turn_nope"})
    assert reason(unknown) == (404, "turn_not_found")


async def test_a_queued_turn_is_cancelled_without_touching_the_running_one(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk, first = await busy(client, upstream)
    async with talk.stream("second") as stream:
        queued = (await stream.until("turn_queued")).json["turn_id"]
        cancelled = await talk.cancel(turn_id=queued)
        frames = await stream.rest()
    assert (cancelled["turn_id"], cancelled["status"]) == (queued, "cancelled")
    assert types_of(frames) == ["turn_queued", "turn_finished", "done"]
    assert (await talk.turn(first))["status"] == "running"
    await talk.cancel()
    assert asked(upstream) == ["first"]
    assert [message["role"] for message in await talk.messages()] == ["user", "assistant"]


async def test_cancelling_all_empties_the_queue_too(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk, first = await busy(client, upstream)
    queued = [await talk.start(message) for message in ("second", "third")]
    cancelled = await talk.cancel(all=True)
    assert cancelled["turn_id"] == first
    for turn_id in (first, *queued):
        assert (await talk.turn(turn_id))["status"] == "cancelled"
    assert asked(upstream) == ["first"]
    assert (await talk.say("fourth"))["response"] == " t0 t1 t2"


async def test_a_waiting_post_is_told_that_its_turn_was_cancelled(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["some", " text"], hang="after_tokens")
    async with talk.follow() as stream:
        waiting = asyncio.create_task(talk.post("Hello"))
        await stream.take(2)
    await talk.cancel()
    refused = await waiting
    assert reason(refused) == (409, "turn_cancelled")
    assert refused.json()["error"]["details"]["partial"] == "some text"


@pytest.mark.parametrize("queued_first", [False, True])
async def test_messages_and_cancels_from_everywhere_at_once_leave_an_orderly_history(
    client: httpx.AsyncClient, upstream: Upstream, queued_first: bool
) -> None:
    talk = await Talk.begin(client)
    upstream.default = Reply(tokens=4, delay=0.002)
    orders = [talk.post(f"message {number}", on_busy="replace") for number in range(4)]
    orders += [client.post(f"{talk.path}/cancel", json={"all": queued_first}) for _ in range(4)]
    answers = await asyncio.gather(*orders)
    assert {answer.status_code for answer in answers} <= {200, 409, 429}
    assert (await talk.info())["turn"] is None
    await upstream.wait_for(active=0)
    roles = [message["role"] for message in await talk.messages()]
    assert "assistant" not in roles[:1]
    assert all(pair != ("assistant", "assistant") for pair in itertools.pairwise(roles))
    assert (await talk.say("and now?"))["response"] == " t0 t1 t2 t3"


async def test_a_background_message_is_accepted_at_once_and_can_be_followed(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=30, delay=0.003)
    response = await talk.post("Hello", background=True)
    assert response.status_code == 202
    started = response.json()
    assert started["session_id"] == talk.session_id
    frames = await talk.replay(started["after"])
    assert frames[0].json["turn_id"] == started["turn_id"]
    assert types_of(frames) == ["turn_started", "text", "turn_finished", "done"]
    turn = await talk.turn(started["turn_id"])
    assert (turn["status"], turn["background"]) == ("completed", True)
    assert turn["user_message_id"] == frames[0].json["message_id"]
    assert turn["started_at"] <= turn["finished_at"]
