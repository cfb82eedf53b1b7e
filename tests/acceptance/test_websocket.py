"""The WebSocket door: many turns on one socket, in several sessions, and nothing lost or said twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Upstream
from tests.fixtures.web_socket import WebSocketTalk, web_socket

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "server": {"max_followed": 3, "max_body": "64KiB", "shutdown_grace": "300ms"},
    "agents": {
        "assistant": {"streaming": {"disconnect_grace": "400ms"}},
        "paced": {"streaming": {"chunk_size": 4, "delay_ms": 5}},
        "whole": {"reasoning": {"enable_streaming": False}},
        "asking": {"tools": ["write_file"], "permissions": {"ask": ["write_file"]}},
    },
}


@pytest_asyncio.fixture(loop_scope="module")
async def socket(server: HectorServer) -> AsyncIterator[WebSocketTalk]:
    async with web_socket(server.base_url) as socket:
        yield socket


async def session_of(socket: WebSocketTalk) -> str:
    return str(next(frame["session_id"] for frame in socket.frames if frame.get("type") == "turn_started"))


# -- turns -------------------------------------------------------------------------------------------


async def test_a_message_begins_a_session_and_its_frames_are_those_of_sse_with_their_number(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    assert await socket.say("Explain quantum computing") == " t0 t1 t2"
    talk = Talk(client, await session_of(socket))
    events = [{**frame.json, "seq": frame.seq} for frame in (await talk.replay(0))[:-1]]
    assert socket.frames == events
    assert (await talk.info())["status"] == "active"


async def test_many_turns_on_one_socket_are_of_one_session(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    for word in ("one", "two", "three"):
        upstream.answer(tokens=[word])
        assert await socket.say(word) == word
    talk = Talk(client, await session_of(socket))
    assert await talk.texts() == ["one", "one", "two", "two", "three", "three"]
    assert [frame["seq"] for frame in socket.frames] == sorted({frame["seq"] for frame in socket.frames})


async def test_frames_say_whose_they_are_once_a_socket_has_followed_a_second_session(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    first, second = await Talk.begin(client), await Talk.begin(client)
    await socket.say("one", session_id=first.session_id)
    assert {frame.get("session_id") for frame in socket.frames} == {None, first.session_id}
    for talk in (second, first):
        upstream.answer(tokens=[talk.session_id, " says"])
        await socket.send(message="two", session_id=talk.session_id)
        await socket.until("turn_finished", session_id=talk.session_id)
        assert socket.texts(talk.session_id) == f"{talk.session_id} says"


async def test_what_others_do_in_the_session_is_seen_too(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    await socket.say("mine")
    await Talk(client, await session_of(socket)).say("yours")
    assert (await socket.until("turn_started"))["message"] == "yours"
    await socket.until("turn_finished")
    assert socket.texts() == " t0 t1 t2" * 2


async def test_messages_in_the_background_are_confirmed_and_go_on_without_a_reader(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    async with web_socket(server.base_url) as socket:
        upstream.answer(tokens=60, delay=0.01)
        await socket.send(message="go on", session_id=talk.session_id, background=True)
        accepted = await socket.until("accepted")
    assert (await talk.finished(accepted["turn_id"]))["status"] == "completed"
    assert [frame.get("type") for frame in socket.frames] == ["accepted"]


async def test_a_key_is_answered_once_and_shown_again(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    for _ in range(2):
        async with web_socket(server.base_url) as socket:
            assert await socket.say("once", session_id=talk.session_id, key="k1") == " t0 t1 t2"
    assert len(upstream.requests) == 1
    async with web_socket(server.base_url) as socket:
        assert await socket.refusal(message="other", session_id=talk.session_id, key="k1") == "idempotency_conflict"
        assert await socket.refusal(message="new", key="k2") == "invalid_request"


async def test_instructions_reach_the_model(upstream: Upstream, socket: WebSocketTalk) -> None:
    await socket.say("Hello", instructions="Answer in Latin.")
    assert "Answer in Latin." in str(upstream.requests[0].json["messages"])


# -- cancel, steer, approve --------------------------------------------------------------------------


async def test_cancel_ends_the_turn_and_the_socket_lives(upstream: Upstream, socket: WebSocketTalk) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    await socket.send(message="Hello")
    await socket.take(3)
    cancelled = await socket.ask("cancel")
    assert cancelled["turn"]["status"] == "cancelled"
    assert any(frame.get("status") == "cancelled" for frame in socket.frames)
    assert await socket.say("again") == " t0 t1 t2"


async def test_a_message_steers_the_running_turn(upstream: Upstream, server: HectorServer) -> None:
    upstream.answer(tokens=["Wait."], calls=[("write_file", {"path": "a.txt", "content": "a"})])
    async with web_socket(server.base_url, "/agents/asking/stream") as socket:
        await socket.send(message="Write a file")
        asked = await socket.until("approval_request")
        await socket.send(message="Shorter, please", on_busy="steer")
        assert (await socket.until("accepted"))["steer"] == "accepted"
        await socket.send(type="approve", call_id=asked["call_id"], approved=False, reason="not now")
        assert (await socket.until("message_steered"))["message"] == "Shorter, please"
        await socket.until("turn_finished", status="completed")
    decided = next(frame for frame in socket.frames if frame.get("type") == "approval_decided")
    assert (decided["approved"], decided["reason"]) == (False, "not now")


async def test_a_call_is_approved_with_other_arguments(upstream: Upstream, server: HectorServer) -> None:
    upstream.answer(tokens=["Now."], calls=[("write_file", {"path": "a.txt", "content": "a"})])
    async with web_socket(server.base_url, "/agents/asking/stream") as socket:
        await socket.send(message="Write a file")
        asked = await socket.until("approval_request")
        changed = {"path": "b.txt", "content": "b"}
        decided = await socket.ask("approve", call_id=asked["call_id"], approved=True, arguments=changed)
        assert decided["call"]["edited"] == changed
        assert await socket.refusal(type="approve", call_id=asked["call_id"], approved=True) == "already_decided"
        await socket.until("turn_finished", status="completed")


# -- attach, detach ----------------------------------------------------------------------------------


async def test_a_socket_that_was_cut_goes_on_where_it_was_without_loss_or_repeat(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    upstream.answer(tokens=200, delay=0.005)
    async with web_socket(server.base_url) as socket:
        await socket.send(message="Hello")
        await socket.take(40)
    session_id = await session_of(socket)
    parts, after = socket.texts(), socket.cursor
    async with web_socket(server.base_url) as second:
        await second.send(type="attach", session_id=session_id, after=after)
        assert (await second.until("attached"))["after"] == after
        await second.until("turn_finished")
    assert parts + second.texts() == (await Talk(client, session_id).texts())[1]


async def test_attach_without_a_cursor_begins_with_the_running_turn(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    talk = await Talk.begin(client)
    await talk.say("before")
    upstream.answer(tokens=30, delay=0.02)
    await talk.start("now")
    await socket.send(type="attach", session_id=talk.session_id)
    await socket.until("turn_finished")
    assert socket.texts() == (await talk.texts())[3]


async def test_attach_from_the_start_shows_the_whole_session_and_an_ended_one_too(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    talk = await Talk.begin(client)
    await talk.say("one")
    await talk.end()
    await socket.send(type="attach", session_id=talk.session_id, after=0)
    await socket.until("session_ended")
    assert socket.texts() == " t0 t1 t2"
    again = await socket.ask("attach", session_id=talk.session_id)
    assert (again["type"], again["status"]) == ("attached", "ended")
    assert await socket.refusal(message="more", session_id=talk.session_id) == "session_ended"


async def test_a_detached_session_is_silent(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    await socket.say("one")
    session_id = await session_of(socket)
    assert (await socket.ask("detach"))["session_id"] == session_id
    await Talk(client, session_id).say("two")
    assert (await socket.ask("ping"))["type"] == "pong"
    assert socket.texts() == " t0 t1 t2"
    assert await socket.refusal(type="detach") == "invalid_request"


async def test_a_socket_follows_so_many_sessions_and_no_more(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    talks = [await Talk.begin(client) for _ in range(4)]
    for talk in talks[:3]:
        assert (await socket.ask("attach", session_id=talk.session_id))["type"] == "attached"
    assert await socket.refusal(message="hello", session_id=talks[3].session_id) == "rate_limited"
    assert upstream.requests == []
    await socket.ask("detach", session_id=talks[0].session_id)
    assert (await socket.ask("attach", session_id=talks[3].session_id))["type"] == "attached"


async def test_the_grace_of_a_turn_runs_when_its_last_socket_has_left(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    async with web_socket(server.base_url) as socket:
        await socket.send(message="Hello")
        started = await socket.until("turn_started")
        await socket.take(3)
        await asyncio.sleep(0.6)  # longer than the grace: the socket is a reader
        assert upstream.aborts == []
    await upstream.wait_for(aborts=1)
    talk = Talk(client, started["session_id"])
    assert (await talk.finished(started["turn_id"]))["reason"] == "disconnected"


# -- bad frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("{nope", "invalid_json"),
        ("[1]", "invalid_request"),
        ("", "invalid_request"),
        (b"\xff\xfe", "invalid_json"),
        ('{"message": ""}', "invalid_request"),
        ('{"message": 5}', "invalid_request"),
        ('{"type": "dance"}', "invalid_request"),
        ('{"type": ["attach"]}', "invalid_request"),
        ('{"type": "attach"}', "invalid_request"),
        ('{"type": "attach", "session_id": "unknown"}', "session_not_found"),
        ('{"type": "cancel", "session_id": "unknown"}', "session_not_found"),
        ('{"message": "Hello", "session_id": "unknown"}', "session_not_found"),
        ('{"message": "Hello", "on_busy": "dance"}', "invalid_request"),
        ('{"type": "approve", "call_id": "c", "session_id": "s"}', "invalid_request"),
        ('{"a":' * 70 + "1" + "}" * 70, "invalid_request"),
    ],
    ids=range(15),
)
async def test_a_bad_frame_is_answered_and_the_socket_lives(
    upstream: Upstream, socket: WebSocketTalk, frame: str | bytes, reason: str
) -> None:
    await socket.send_text(frame)
    refused = await socket.until("error")
    assert refused["error"]["reason"] == reason
    assert set(refused["error"]) == {"code", "reason", "message", "details", "request_id"}
    assert await socket.say("Hello") == " t0 t1 t2"


async def test_a_frame_larger_than_a_body_may_be_closes_the_socket(socket: WebSocketTalk) -> None:
    await socket.send(message="x" * 70_000)
    assert await socket.closed() == 1009


# -- closing -----------------------------------------------------------------------------------------


async def test_a_terminated_session_closes_the_socket_that_follows_nothing_else(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    await socket.send(message="Hello")
    await socket.take(3)
    await Talk(client, await session_of(socket)).terminate()
    assert await socket.closed() == 4410
    assert [frame.get("type") for frame in socket.frames[-2:]] == ["turn_finished", "session_terminated"]


async def test_a_terminated_session_leaves_a_socket_that_follows_others_open(
    client: httpx.AsyncClient, upstream: Upstream, socket: WebSocketTalk
) -> None:
    first, second = await Talk.begin(client), await Talk.begin(client)
    for talk in (first, second):
        await socket.ask("attach", session_id=talk.session_id)
    await first.terminate()
    await socket.until("session_terminated")
    assert await socket.refusal(message="Hello", session_id=first.session_id) == "session_terminated"
    assert await socket.say("Hello", session_id=second.session_id) == " t0 t1 t2"


async def test_a_socket_whose_address_names_a_session_uses_it_and_ends_with_it(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    async with web_socket(server.base_url, f"/agents/assistant/stream?session_id={talk.session_id}") as socket:
        assert await socket.say("Hello") == " t0 t1 t2"
        await talk.end()
        assert await socket.closed() == 1000
    assert (await talk.texts()) == ["Hello", " t0 t1 t2"]


async def test_an_orderly_stop_tells_every_followed_session_where_to_go_on(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    upstream.answer(tokens=500, delay=0.01)
    other = await Talk.begin(client)
    async with web_socket(server.base_url) as socket, web_socket(server.base_url) as idle:
        await socket.ask("attach", session_id=other.session_id)
        await socket.send(message="Hello")
        await socket.take(10)
        server.ask_to_stop()
        assert (await socket.closed(), await idle.closed()) == (1012, 1012)
    assert await server.ended() == 0
    mine = await session_of(socket)
    told = {frame["session_id"]: frame["after"] for frame in socket.frames if frame.get("type") == "reconnect"}
    assert told == {other.session_id: 0, mine: told[mine]}
    await server.start()
    async with web_socket(server.base_url) as again:
        await again.send(type="attach", session_id=mine, after=told[mine])
        assert (await again.until("turn_finished"))["status"] == "interrupted"
    talk = Talk(client, mine)
    text = socket.texts() + again.texts()
    snapshot = [frame["text"] for frame in again.frames if frame.get("type") == "snapshot"]
    assert (snapshot[-1] if snapshot else text) == (await talk.texts())[1]


# -- pacing ------------------------------------------------------------------------------------------


async def test_text_is_paced_as_the_agent_says_and_a_piece_can_be_resumed(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    upstream.answer(tokens=["abcdefghij", "klmnop"])
    async with web_socket(server.base_url, "/agents/paced/stream") as socket:
        await socket.send(message="Hello")
        frames = await socket.take(2)
        session_id = await session_of(socket)
    assert [frame["chunk"] for frame in frames if "type" not in frame] == ["abcd", "efgh"]
    assert frames[-1]["seq"] == f"{frames[-1]['seq'].partition(':')[0]}:8"
    async with web_socket(server.base_url, "/agents/paced/stream") as again:
        await again.send(type="attach", session_id=session_id, after=frames[-1]["seq"])
        await again.until("turn_finished")
    assert again.texts() == "ijklmnop"


async def test_an_agent_that_does_not_stream_sends_its_answer_whole(upstream: Upstream, server: HectorServer) -> None:
    async with web_socket(server.base_url, "/agents/whole/stream") as socket:
        await socket.say("Hello")
    assert [frame["chunk"] for frame in socket.frames if "type" not in frame] == [" t0 t1 t2"]


# -- crash -------------------------------------------------------------------------------------------


async def test_after_a_kill_in_mid_answer_attach_completes_the_text(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    upstream.answer(tokens=5000, delay=0.005)
    async with web_socket(server.base_url) as socket:
        await socket.send(message="Hello")
        await socket.take(150)
        await server.kill()
        assert await socket.closed() == 1006
    await server.start()
    session_id, shown = await session_of(socket), socket.texts()
    async with web_socket(server.base_url) as again:
        await again.send(type="attach", session_id=session_id, after=socket.cursor)
        assert (await again.until("turn_finished"))["status"] == "interrupted"
    for frame in again.frames:
        shown = frame["text"] if frame.get("type") == "snapshot" else shown + frame["chunk"]
    talk = Talk(client, session_id)
    stored = await eventually(talk.texts)
    assert shown == stored[1]
    assert len(shown) > 200
