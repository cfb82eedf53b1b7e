"""How sessions end: by request, by idleness, by age; and what each door answers afterwards."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT = 1.0
SETTINGS = {"sessions": {"timeout": "1s"}}


async def over(client: httpx.AsyncClient, how: str) -> Talk:
    """A session with one exchange that was ended, expired or terminated."""
    talk = await Talk.begin(client)
    await talk.say("Hello")
    if how == "ended":
        assert (await talk.end())["status"] == "ended"
    elif how == "expired":

        async def is_expired() -> bool:
            return bool((await talk.info())["status"] == "expired")

        await eventually(is_expired, within=TIMEOUT + 2)
    else:
        await talk.terminate()
    return talk


REFUSED = {
    "ended": (409, "session_ended"),
    "expired": (410, "session_expired"),
    "terminated": (410, "session_terminated"),
}


@pytest.mark.parametrize("how", list(REFUSED))
async def test_a_session_that_is_over_accepts_no_message_by_any_door(
    client: httpx.AsyncClient, upstream: Upstream, how: str
) -> None:
    talk = await over(client, how)
    for path in ("/messages", "/messages/stream"):
        refused = await client.post(talk.path + path, json={"message": "Still there?"})
        assert reason(refused) == REFUSED[how]
        assert refused.json()["error"]["code"] == "FAILED_PRECONDITION"
    background = await talk.post("Still there?", background=True)
    assert reason(background) == REFUSED[how]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("how", ["ended", "expired"])
async def test_a_session_that_is_over_stays_readable_and_can_be_described_and_deleted(
    client: httpx.AsyncClient, upstream: Upstream, how: str
) -> None:
    talk = await over(client, how)
    info = await talk.info()
    assert (info["status"], info["expires_at"], info["message_count"]) == (how, None, 2)
    assert info["ended_at"]
    assert await talk.texts() == ["Hello", " t0 t1 t2"]
    assert good(await client.get(f"{talk.path}/events"))["events"][-1]["type"] == "session_ended"
    assert good(await client.patch(talk.path, json={"title": "Old"}))["title"] == "Old"
    assert await talk.cancel() is None
    assert await talk.end() == await talk.info()
    listed = good(await client.get(f"/agents/assistant/sessions?status={how}&limit=200"))["sessions"]
    assert talk.session_id in [session["session_id"] for session in listed]
    again = await client.post("/agents/assistant/sessions", json={"session_id": talk.session_id})
    assert (again.status_code, again.json()["status"]) == (200, how)
    assert (await talk.terminate())["status"] == "terminated"


@pytest.mark.parametrize("how", ["ended", "expired"])
async def test_a_stream_of_a_session_that_is_over_replays_and_then_says_204(
    client: httpx.AsyncClient, upstream: Upstream, how: str
) -> None:
    talk = await over(client, how)
    async with talk.follow("?after=0") as stream:
        frames = await stream.rest()
    assert types_of(frames) == ["turn_started", "text", "turn_finished", "done", "session_ended"]
    assert frames[-1].json.get("reason") == (None if how == "ended" else "expired")
    async with talk.follow(last_id="4") as stream:
        assert types_of(await stream.rest()) == ["turn_finished", "done", "session_ended"]
    path = f"{talk.path}/messages/stream"
    for cursor in (str(frames[-1].id), None, "garbage"):
        headers = {"Last-Event-ID": cursor} if cursor else None
        response = await client.get(path, headers=headers)
        assert (response.status_code, response.content) == (204, b"")


async def test_a_reader_is_told_the_end_and_its_stream_closes(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    async with talk.follow() as stream:
        await talk.say("Hello")
        await stream.until("done")
        await talk.end()
        frames = await stream.rest()
    assert frames[-1].json == {"chunk": "", "type": "session_ended", "session_id": talk.session_id}


async def test_an_end_never_cuts_an_answer(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=40, delay=0.01)
    async with talk.follow() as watching, talk.stream("Hello") as stream:
        await stream.take(3)
        queued = await talk.start("and this")
        ending = await talk.end()
        assert (ending["status"], ending["ending"]) == ("active", True)
        assert reason(await talk.post("one more")) == (409, "session_ended")
        frames = await stream.rest()
        watched = await watching.rest()
    assert frames[-2].json["status"] == "completed"
    assert watched[-1].type == "session_ended"
    assert (await talk.turn(queued))["status"] == "completed"
    info = await talk.info()
    assert info["status"] == "ended"
    assert "ending" not in info


async def test_ending_twice_is_ending_once(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await over(client, "ended")
    before = await talk.info()
    for answer in await asyncio.gather(*[talk.end() for _ in range(5)]):
        assert answer == before


async def test_an_ended_session_stays_ended_after_a_restart(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await over(client, "ended")
    assert await server.stop() == 0
    await server.start()
    assert (await talk.info())["status"] == "ended"
    assert reason(await talk.post("Hello?")) == (409, "session_ended")


async def test_a_session_says_when_it_will_expire_and_a_message_postpones_that(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    before = (await talk.info())["expires_at"]
    await talk.say("Hello")
    assert (await talk.info())["expires_at"] > before


async def test_a_running_answer_is_never_idle(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["slow", " but", " sure"], delay=TIMEOUT * 0.6)
    said = await talk.say("Hello")
    assert said["response"] == "slow but sure"
    assert (await talk.info())["status"] == "active"
    assert (await talk.say("And?"))["response"] == " t0 t1 t2"
