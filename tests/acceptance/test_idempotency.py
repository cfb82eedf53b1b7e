"""The same Idempotency-Key and body is the same turn, however often and however late it comes."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.fixtures.server import HectorServer
from tests.fixtures.sse import DONE, open_stream, text_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = {"Idempotency-Key": "the-key"}


async def test_fifty_requests_at_once_are_one_turn_and_one_call(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.default = Reply(tokens=20, delay=0.005)
    answers = await asyncio.gather(*[talk.post("Hello", headers=KEY) for _ in range(50)])
    bodies = [good(answer) for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert len(upstream.requests) == 1
    assert len(await talk.messages()) == 2


async def test_a_stream_under_the_same_key_is_attached_to_the_running_turn(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.default = Reply(tokens=40, delay=0.005)
    first, second, third = await asyncio.gather(*[talk.stream_all("Hello", headers=KEY) for _ in range(3)])
    assert first == second == third
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_key_used_again_later_gets_the_stored_answer(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer, restarts: bool
) -> None:
    talk = await Talk.begin(client)
    first = good(await talk.post("Hello", headers=KEY))
    live = await talk.replay(0)
    await talk.say("something in between")
    if restarts:
        assert await server.stop() == 0
        await server.start()
    assert good(await talk.post("Hello", headers=KEY)) == first
    streamed = await talk.stream_all("Hello", headers=KEY)
    assert streamed[:-1] == live[:-1]
    assert streamed[-1].data == DONE
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_failed_turn_is_the_result_of_its_key_too(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer, restarts: bool
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=5, cut_after=3)
    first = await talk.post("Hello", headers=KEY)
    assert reason(first) == (502, "llm_error")
    if restarts:
        await server.stop()
        await server.start()
    again = await talk.post("Hello", headers=KEY)
    assert reason(again) == (502, "llm_error")
    assert again.json()["error"]["details"] == first.json()["error"]["details"]
    assert again.json()["error"]["details"]["partial"] == " t0 t1 t2"
    assert len(upstream.requests) == 1


async def test_a_cancelled_turn_is_the_result_of_its_key_too(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=2, hang="after_tokens")
    waiting = asyncio.create_task(talk.post("Hello", headers=KEY))
    await upstream.wait_for(requests=1, tokens=2)
    await talk.cancel()
    for answer in (await waiting, await talk.post("Hello", headers=KEY)):
        assert reason(answer) == (409, "turn_cancelled")
    assert len(upstream.requests) == 1


async def test_another_body_under_the_same_key_is_refused(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, delay=0.05)
    running = asyncio.create_task(talk.post("Hello", headers=KEY))
    await upstream.wait_for(requests=1)
    for _ in range(2):  # while it runs, and when it is over
        refused = await talk.post("Something else", headers=KEY)
        assert reason(refused) == (409, "idempotency_conflict")
        assert refused.json()["error"]["code"] == "ALREADY_EXISTS"
        await running
    assert len(upstream.requests) == 1


async def test_a_key_belongs_to_its_session(client: httpx.AsyncClient, upstream: Upstream) -> None:
    one, two = await Talk.begin(client), await Talk.begin(client)
    first, second = good(await one.post("Hello", headers=KEY)), good(await two.post("Hello", headers=KEY))
    assert first["turn_id"] != second["turn_id"]
    assert len(upstream.requests) == 2


async def test_a_refused_message_leaves_its_key_free(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=2, hang="after_tokens")
    await talk.start("first")
    await upstream.wait_for(requests=1)
    assert reason(await talk.post("Hello", headers=KEY, on_busy="reject")) == (409, "session_busy")
    await talk.cancel()
    assert good(await talk.post("Hello", headers=KEY, on_busy="reject"))["response"] == " t0 t1 t2"


async def test_one_shots_with_the_same_key_are_one_turn(client: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.default = Reply(tokens=20, delay=0.005)
    body = {"message": "Hello"}
    headers = {"Idempotency-Key": "one-shot"}
    answers = await asyncio.gather(
        *[client.post("/agents/assistant/messages", json=body, headers=headers) for _ in range(20)]
    )
    bodies = [good(answer) for answer in answers]
    assert all(answer == bodies[0] for answer in bodies)
    path = "/agents/assistant/messages/stream"
    async with open_stream(client, "POST", path, json=body, headers=headers) as stream:
        assert text_of(await stream.rest()) == bodies[0]["response"]
        assert stream.response.headers["x-session-id"] == bodies[0]["session_id"]
    other = await client.post("/agents/assistant/messages", json={"message": "else"}, headers=headers)
    assert reason(other) == (409, "idempotency_conflict")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("path", ["messages", "messages/stream"])
async def test_a_key_is_looked_up_before_the_state_of_its_session(
    client: httpx.AsyncClient, upstream: Upstream, path: str
) -> None:
    talk = await Talk.begin(client)
    first = good(await talk.post("Hello", headers=KEY))
    await talk.end()
    again = await client.post(f"{talk.path}/{path}", json={"message": "Hello"}, headers=KEY)
    assert again.status_code == 200
    assert first["turn_id"] in again.text
    assert reason(await talk.post("Else", headers=KEY)) == (409, "idempotency_conflict")
    assert reason(await talk.post("Hello", headers={"Idempotency-Key": "new"})) == (409, "session_ended")
    await talk.terminate()
    assert reason(await talk.post("Hello", headers=KEY)) == (410, "session_terminated")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_new_answer_under_a_key_is_found_whatever_came_after_it(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer, restarts: bool
) -> None:
    talk = await Talk.begin(client)
    await talk.say("Hello")
    replaced = (await talk.messages())[-1]["message_id"]
    path, body = f"{talk.path}/regenerate", {"message_id": replaced, "instructions": "Be brief."}
    first = good(await client.post(path, json=body, headers=KEY))
    await talk.say("something else")
    await talk.end()
    if restarts:
        await server.stop()
        await server.start()
    assert good(await client.post(path, json=body, headers=KEY)) == first
    for other in ({}, {"message_id": first["message_id"]}, {**body, "instructions": "Be long."}):
        assert reason(await client.post(path, json=other, headers=KEY)) == (409, "idempotency_conflict")
    headers = KEY | {"Last-Event-ID": str((await talk.replay())[-3].seq)}
    async with open_stream(client, "POST", f"{path}/stream", json=body, headers=headers) as stream:
        assert (await stream.rest())[0].seq is not None, "a cursor of another turn begins this one"
    assert len(upstream.requests) == 3


async def test_a_queued_turn_is_found_by_its_key(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=2, hang="after_tokens")
    await talk.start("first")
    await upstream.wait_for(requests=1)
    one, two = [good(await talk.post("second", headers=KEY, background=True)) for _ in range(2)]
    assert one["turn_id"] == two["turn_id"]
    assert (await talk.info())["queued"] == 1
    await talk.cancel(all=True)


@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_a_key_of_a_strange_length_is_refused(client: httpx.AsyncClient, key: str) -> None:
    talk = await Talk.begin(client)
    refused = await talk.post("Hello", headers={"Idempotency-Key": key})
    assert reason(refused) == (422, "invalid_request")
