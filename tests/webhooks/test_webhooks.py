"""Webhooks over real sockets: a server, a provider, and a receiver that comes and goes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import settings_for
from tests.cli.command import Hector
from tests.fixtures.eventually import eventually
from tests.fixtures.receiver import SECRET, Receiver, Told
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Reply, Upstream

SOON = {"private": ["127.0.0.1"], "first_pause": "30ms", "max_pause": "100ms", "timeout": "2s"}
OLD_SECRET = "whsec_" + "b2xkIHNlY3JldCBvZiB0aGUgcmVjZWl2ZXIgaGVyZQ=="


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiving:
        yield receiving


@asynccontextmanager
async def running(
    folder: Path, receiver: Receiver, *, delivery: dict[str, Any] | None = None, **webhook: Any
) -> AsyncIterator[tuple[HectorServer, httpx.AsyncClient, Upstream]]:
    async with Upstream() as upstream:
        settings = settings_for(
            upstream,
            {
                "agents": {"assistant": {}, "other": {}, "coder": {"tools": ["todo_write"]}},
                "tools": {"todo_write": {"require_approval": True}},
                "webhook_delivery": SOON | (delivery or {}),
            },
        )
        settings["webhooks"] = [{"url": receiver.url, "secret": SECRET} | webhook]
        server = HectorServer(folder, settings)
        await server.start()
        try:
            async with httpx.AsyncClient(base_url=server.base_url, timeout=20) as client:
                yield server, client, upstream
        finally:
            await server.close()


def rows(
    server: HectorServer, query: str = "SELECT session_id, kind FROM outbox ORDER BY session_id, seq"
) -> list[Any]:
    with sqlite3.connect(server.folder / "data" / "hector.db") as connection:
        return connection.execute(query).fetchall()


async def until(fact: Callable[[], bool]) -> None:
    async def ask() -> bool:
        return fact()

    await eventually(ask)


async def all_is_told(server: HectorServer) -> None:
    await until(lambda: rows(server) == [])


def of(told: Sequence[Told], session_id: str) -> list[tuple[str, str | None]]:
    return [(one.type, one.data.get("turn_id")) for one in told if one.data["session_id"] == session_id]


async def test_a_receiver_that_was_down_is_told_each_event_once_and_in_order_after_a_kill_of_the_server(
    tmp_path: Path, receiver: Receiver
) -> None:
    await receiver.stop()
    async with running(tmp_path, receiver) as (server, client, _):
        talks = [await Talk.begin(client) for _ in range(3)]
        turns: dict[str, list[str]] = {talk.session_id: [] for talk in talks}
        for number in range(3):
            for talk in talks:
                said = await talk.say(f"message {number}")
                turns[talk.session_id].append(said["turn_id"])
        await server.kill()
        await server.start()
        for talk in talks[:2]:
            said = await talk.say("after the kill")
            turns[talk.session_id].append(said["turn_id"])
        await talks[2].end()
        await receiver.listen()
        told = list(await receiver.wait_for(12))
        for talk in talks:
            ended = [("session_ended", None)] if talk is talks[2] else []
            expected = [("turn_finished", turn_id) for turn_id in turns[talk.session_id]] + ended
            assert of(told, talk.session_id) == expected
        assert len({one.id for one in told}) == len(told)
        await all_is_told(server)
        assert len(receiver.told) == 12
        first = told[0].data
        assert first["status"] == "completed"
        assert first["agent"] == "assistant"
        assert first["finish_reason"] == "stop"
        assert first["usage"]["completion_tokens"] == 7
        assert "text" not in first
        metrics = (await client.get("/metrics")).text
        assert 'hector_webhook_attempts_total{outcome="delivered"} 12.0' in metrics


async def test_an_event_that_fails_holds_up_its_own_session_only_and_keeps_its_id(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with running(tmp_path, receiver) as (_server, client, _):
        receiver.status = 500
        one, two = await Talk.begin(client), await Talk.begin(client)
        await one.say("first")
        await one.say("second")
        await receiver.wait_for(0, attempts=2)
        assert len(set(receiver.attempts)) == 1, "the second event waits for the first"
        receiver.status = 200
        await two.say("elsewhere")
        told = list(await receiver.wait_for(3))
        assert [kind for kind, _ in of(told, one.session_id)] == ["turn_finished", "turn_finished"]
        assert set(receiver.attempts) == {one.id for one in told}


async def test_text_is_told_where_the_webhook_asks_for_it_and_two_secrets_sign(
    tmp_path: Path, receiver: Receiver
) -> None:
    secrets, events = [SECRET, OLD_SECRET], ["turn_started", "turn_finished"]
    async with running(tmp_path, receiver, include="text", events=events, secret=secrets) as (_, client, upstream):
        upstream.default = Reply(tokens=["Hello", " you."])
        talk = await Talk.begin(client, user_id="ann")
        await talk.say("Hi.")
        receiver.secret = OLD_SECRET
        await talk.say("Again.")
        told = list(await receiver.wait_for(4))
        assert [one.type for one in told] == ["turn_started", "turn_finished"] * 2
        assert told[0].data["message"] == "Hi."
        assert told[0].data["user_id"] == "ann"
        assert told[1].data["text"] == "Hello you."
        assert told[1].data["status"] == "completed"


async def test_a_terminated_session_is_told_without_its_text_and_a_forgotten_one_not_at_all(
    tmp_path: Path, receiver: Receiver
) -> None:
    await receiver.stop()
    async with running(tmp_path, receiver, include="text") as (server, client, upstream):
        upstream.default = Reply(tokens=["secret words"])
        ended, forgotten, all_of_it = [await Talk.begin(client) for _ in range(3)]
        for talk in (ended, forgotten, all_of_it):
            await talk.say("Hi.")
        await ended.terminate()
        receipt = await client.post("/agents/assistant/forget", json={"session_id": forgotten.session_id})
        assert receipt.status_code == 200
        assert receipt.json()["found_afterwards"] == 0
        assert (await client.delete(f"{all_of_it.path}?forget=all")).status_code == 200
        assert [row[0] for row in rows(server)] == [ended.session_id] * 2
        await receiver.listen()
        told = list(await receiver.wait_for(2))
        assert [one.type for one in told] == ["turn_finished", "session_terminated"]
        assert told[0].data["text"] is None
        assert told[0].data["user_id"] is None
        await all_is_told(server)
        assert len(receiver.told) == 2


async def test_an_address_that_is_gone_is_told_nothing_more(tmp_path: Path, receiver: Receiver) -> None:
    async with running(tmp_path, receiver) as (server, client, _):
        receiver.status = 410
        talk = await Talk.begin(client)
        await talk.say("first")
        await server.wait_for_log("is gone (HTTP 410)")
        await all_is_told(server)
        await talk.say("second")
        assert rows(server) == []
        assert len(receiver.attempts) == 1


async def test_what_nobody_takes_in_time_is_kept_and_sent_again_on_request(tmp_path: Path, receiver: Receiver) -> None:
    async with running(tmp_path, receiver, delivery={"give_up": "200ms"}) as (server, client, _):
        receiver.status, receiver.headers = 302, {"Location": receiver.url + "/elsewhere"}
        talk = await Talk.begin(client)
        await talk.say("first")
        await server.wait_for_log("was not told of turn_finished")
        await until(lambda: rows(server, "SELECT count(*) FROM outbox WHERE failed_ms IS NOT NULL") == [(1,)])
        hector = Hector(server.folder)
        shown = (await hector("webhooks", "--failed", "--json")).json["deliveries"]
        assert [(one["state"], one["problem"]) for one in shown] == [("failed", "HTTP 302")]
        receiver.status = 204
        await talk.say("second")
        await receiver.wait_for(1)
        assert "1 event will be sent again" in (await hector("webhooks", "--redeliver")).out
        told = await receiver.wait_for(2)
        assert told[1].id == shown[0]["id"]
        assert {one.path for one in receiver.told} == {"/hook"}


async def test_private_addresses_are_refused_unless_allowed(tmp_path: Path, receiver: Receiver) -> None:
    async with running(tmp_path, receiver, delivery={"private": []}) as (server, client, _):
        await (await Talk.begin(client)).say("first")
        assert "private network" in await server.wait_for_log("does not take")
        assert receiver.attempts == []
        refused = await client.post("/agents/assistant/sessions", json={"webhooks": [{"url": receiver.url}]})
        assert refused.status_code == 422
        assert "webhook_delivery.per_session" in refused.text, "sessions may have none of their own"


async def test_sessions_have_webhooks_of_their_own_where_that_is_allowed(tmp_path: Path, receiver: Receiver) -> None:
    own = {"url": receiver.url.replace("/hook", "/own"), "events": ["turn_finished", "session_terminated"]}
    async with running(tmp_path, receiver, delivery={"per_session": True}, events=["session_ended"]) as (_, client, _u):
        made = await client.post("/agents/assistant/sessions", json={"webhooks": [own]})
        shown = made.json()["webhooks"][0]
        assert shown["url"] == own["url"]
        assert shown["secret"].startswith("whsec_")
        receiver.secret = shown["secret"]
        talk = Talk(client, made.json()["session_id"])
        await talk.say("Hi.")
        await talk.terminate()
        told = list(await receiver.wait_for(2))
        assert [(one.path, one.type) for one in told] == [("/own", "turn_finished"), ("/own", "session_terminated")]
        refused = await client.post("/agents/assistant/sessions", json={"webhooks": [{"url": "http://10.1.2.3/"}]})
        assert refused.status_code == 422
        assert "private network" in refused.text
        weak = await client.post("/agents/assistant/sessions", json={"webhooks": [own | {"secret": "whsec_abc"}]})
        assert weak.status_code == 422
        assert "openssl rand" in weak.text


async def test_a_call_that_waits_for_a_yes_and_a_session_in_memory_are_told(tmp_path: Path, receiver: Receiver) -> None:
    events = ["waiting", "approval_request", "turn_finished"]
    async with running(tmp_path, receiver, events=events, agents=["coder"]) as (_, client, upstream):
        upstream.answer(calls=[("todo_write", {"todos": []})])
        talk = await Talk.begin(client, agent="coder")
        waiting = await talk.post("Plan.")
        assert waiting.status_code == 202
        told = list(await receiver.wait_for(2))
        assert {one.type for one in told} == {"waiting", "approval_request"}
        assert all("arguments" not in one.data for one in told)
        call = told[0].data["call_id"]
        await client.post(f"{talk.path}/approvals/{call}", json={"approved": True})
        await receiver.wait_for(3)
        shot = await client.post("/agents/coder/messages", json={"message": "Hi."})
        told = list(await receiver.wait_for(4))
        assert told[3].data["session_id"] == shot.headers["X-Session-Id"]
        await client.post("/agents/other/messages", json={"message": "not told"})
        await asyncio.sleep(0)
        assert {one.data["agent"] for one in receiver.told} == {"coder"}
