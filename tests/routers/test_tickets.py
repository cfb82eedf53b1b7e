"""Tickets: they open the streams of one session, until they expire or the session is terminated, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.config.root import Config
from app.llm.scripted import Answer, ScriptedLLM
from app.main import create_app
from app.runtime import Runtime
from tests.fixtures.talk import good, reason

AGENTS = "/agents/assistant"
KEYS = {"alice": "key-of-alice-0000", "bob": "key-of-bob-000000"}
INVALID = (401, "unauthenticated")


class Server:
    """An application that can be closed and opened again, on data that stays, at a time of its own."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/hector.db"
        self.now = 1_800_000_000_000
        self.auth: dict[str, Any] = {"keys": KEYS}

    async def open(self) -> None:
        config = Config.model_validate(
            {
                "storage": {"url": self.url},
                "server": {"cors_origins": ["https://app.example"]},
                "auth": self.auth,
                "llms": {"demo": {"type": "scripted"}},
                "embedders": {"default": {"type": "none"}},
                "agents": {"assistant": {}, "other": {}},
            }
        )
        model = ScriptedLLM("demo", [Answer("Noted.")])
        self.runtime = Runtime(config, clock_ms=lambda: self.now, llms={"demo": model})
        await self.runtime.open()
        transport = httpx.ASGITransport(create_app(self.runtime))
        self.browser = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        bearer = {"Authorization": f"Bearer {KEYS['alice']}"}
        self.alice = httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=bearer)

    async def close(self) -> None:
        await self.browser.aclose()
        await self.alice.aclose()
        await self.runtime.close()

    async def restart(self) -> None:
        await self.close()
        await self.open()

    async def session(self, *, agent: str = "assistant", **body: Any) -> str:
        """The path of a session that is over, so that its stream ends by itself."""
        made = good(await self.alice.post(f"/agents/{agent}/sessions", json=body))
        path = f"/agents/{agent}/sessions/{made['session_id']}"
        good(await self.alice.post(f"{path}/messages", json={"message": "Hello"}))
        return path

    async def ticket(self, path: str, **body: Any) -> str:
        return str(good(await self.alice.post(f"{path}/tickets", json=body))["ticket"])

    async def follow(self, path: str, ticket: str, **options: Any) -> httpx.Response:
        query = f"after=0&until=turn_end&ticket={ticket}"
        return await self.browser.get(f"{path}/messages/stream?{query}", **options)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    await server.open()
    yield server
    await server.close()


async def test_a_ticket_opens_the_stream_again_and_again_until_it_expires(server: Server) -> None:
    path = await server.session()
    made = await server.alice.post(f"{path}/tickets", json={"ttl": "2m"})
    assert made.status_code == 201
    assert made.json()["expires_at"] == "2027-01-15T08:02:00.000Z"
    assert made.headers["cache-control"] == "no-store"
    ticket = made.json()["ticket"]
    for _ in range(2):
        assert '"chunk": "Noted."' in (await server.follow(path, ticket)).text
    server.now += 120_000 - 1
    assert (await server.follow(path, ticket)).status_code == 200
    server.now += 1
    refused = await server.follow(path, ticket)
    assert reason(refused) == INVALID
    assert "expired" in refused.text


async def test_it_survives_a_restart_and_ends_with_the_session(server: Server) -> None:
    path = await server.session()
    ticket = await server.ticket(path)
    await server.restart()
    assert (await server.follow(path, ticket)).status_code == 200
    good(await server.alice.delete(path))
    assert reason(await server.follow(path, ticket)) == (410, "session_terminated")
    await server.restart()
    assert reason(await server.follow(path, ticket)) == (410, "session_terminated")


async def test_it_opens_no_other_session_agent_or_address(server: Server) -> None:
    path, other = await server.session(), await server.session()
    elsewhere = await server.session(agent="other")
    ticket = await server.ticket(path, can=["read", "chat"])
    for stream in (other, elsewhere, f"{AGENTS}/sessions/unknown"):
        assert reason(await server.follow(stream, ticket)) == INVALID
    for method, address in (
        ("GET", path),
        ("GET", f"{path}/messages"),
        ("POST", f"{path}/messages"),
        ("POST", f"{path}/tickets"),
        ("POST", f"{path}/regenerate/stream"),
        ("GET", f"{path}/events"),
        ("DELETE", path),
        ("POST", f"{AGENTS}/messages/stream"),
        ("GET", f"{AGENTS}/sessions"),
        ("GET", "/usage"),
        ("PUT", f"{path}/messages/stream"),
    ):
        refused = await server.browser.request(method, f"{address}?ticket={ticket}", json={"message": "Hello"})
        assert reason(refused) == INVALID, address
    for header in ({"Authorization": f"Bearer {ticket}"}, {"Cookie": f"ticket={ticket}"}, {"Ticket": ticket}):
        assert reason(await server.browser.get(f"{path}/messages/stream", headers=header)) == INVALID


async def test_sending_needs_a_ticket_that_can_chat(server: Server) -> None:
    path = await server.session()
    for can in (None, ["read"]):
        ticket = await server.ticket(path, **({} if can is None else {"can": can}))
        url = f"{path}/messages/stream?ticket={ticket}"
        assert reason(await server.browser.post(url, json={"message": "Hi"})) == (403, "forbidden_ticket")
    for can in (["read", "chat"], ["chat"]):
        ticket = await server.ticket(path, can=can)
        url = f"{path}/messages/stream?ticket={ticket}"
        assert "Noted." in (await server.browser.post(url, json={"message": "Hi"})).text
        assert (await server.follow(path, ticket)).status_code == 200


@pytest.mark.parametrize("change", ["", "x", "prefix", "longer", "signature", "rights", "time"])
async def test_what_was_not_issued_opens_nothing(server: Server, change: str) -> None:
    path = await server.session()
    ticket = await server.ticket(path)
    swapped = {"signature": -2, "rights": len("ticket_") + 1, "time": len("ticket_") + 10}
    if change in swapped:
        place = swapped[change] % len(ticket)
        forged = ticket[:place] + ("A" if ticket[place] != "A" else "B") + ticket[place + 1 :]
    else:
        forged = {"prefix": ticket.removeprefix("ticket_"), "longer": ticket + "AAAA"}.get(change, change)
    assert forged != ticket
    assert reason(await server.follow(path, forged)) == INVALID
    assert reason(await server.follow(path, f"{ticket}&ticket={ticket}")) == INVALID


async def test_it_names_the_user_of_its_session_and_no_other(server: Server) -> None:
    path = await server.session(user_id="ann")
    ticket = await server.ticket(path)
    assert (await server.follow(path, ticket, headers={"X-User-Id": "ann"})).status_code == 200
    assert reason(await server.follow(path, ticket, headers={"X-User-Id": "ben"})) == (422, "invalid_request")
    refused = await server.alice.post(f"{path}/tickets", headers={"X-User-Id": "ben"})
    assert reason(refused) == (404, "session_not_found")


async def test_when_its_key_is_removed_it_opens_nothing(server: Server) -> None:
    path = await server.session()
    ticket = await server.ticket(path)
    server.auth = {"keys": {"bob": KEYS["bob"]}}
    await server.restart()
    assert reason(await server.follow(path, ticket)) == INVALID


async def test_without_keys_it_is_checked_all_the_same(server: Server) -> None:
    server.auth = {}
    await server.restart()
    path = await server.session()
    ticket = await server.ticket(path)
    assert (await server.follow(path, ticket)).status_code == 200
    assert reason(await server.follow(path, ticket[:-4])) == INVALID


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl": 59}, "ttl"),
        ({"ttl": "61m"}, "ttl"),
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"ttl": -1}, "ttl"),
        ({"can": []}, "can"),
        ({"can": ["write"]}, "can"),
        ({"can": "read"}, "can"),
    ],
)
async def test_what_cannot_be_asked_for(server: Server, body: dict[str, Any], field: str) -> None:
    refused = await server.alice.post(f"{await server.session()}/tickets", json=body)
    assert reason(refused) == (422, "invalid_request")
    assert field in refused.json()["error"]["message"]


async def test_the_longest_time_is_that_of_the_configuration(server: Server) -> None:
    server.auth = {"keys": KEYS, "max_ticket_ttl": "2m"}
    await server.restart()
    path = await server.session()
    made = good(await server.alice.post(f"{path}/tickets"))
    assert made["expires_at"] == "2027-01-15T08:02:00.000Z"
    refused = await server.alice.post(f"{path}/tickets", json={"ttl": 121})
    assert "2m (auth.max_ticket_ttl)" in refused.json()["error"]["message"]


async def test_no_log_and_no_error_has_it(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = await server.session()
    ticket = await server.ticket(path)
    answers = [
        await server.follow(path, ticket),
        await server.follow(f"{path}x", ticket),
        await server.browser.get(f"/nothing?ticket={ticket}"),
        await server.browser.get(f"{path}/messages/stream?until=never&ticket={ticket}"),
        await server.browser.post(f"{path}/messages/stream?ticket={ticket}", json={"message": "Hi"}),
    ]
    server.now += 3_600_000
    answers.append(await server.follow(path, ticket))
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert ours
    told = [*ours, *[answer.text for answer in answers], *[str(answer.headers) for answer in answers]]
    assert [text for text in told if ticket[:20] in text] == []


async def test_a_page_of_an_allowed_origin_may_use_it(server: Server) -> None:
    path = await server.session()
    ticket = await server.ticket(path, can=["read", "chat"])
    page = {"Origin": "https://app.example"}
    followed = await server.follow(path, ticket, headers=page)
    assert followed.headers["access-control-allow-origin"] == "https://app.example"
    expired = await server.follow(path, ticket[:-1], headers=page)
    assert expired.headers["access-control-allow-origin"] == "https://app.example"
    url = f"{path}/messages/stream?ticket={ticket}"
    assert (await server.browser.post(url, json={"message": "Hi"}, headers=page)).status_code == 200
    evil = await server.browser.post(url, json={"message": "Hi"}, headers={"Origin": "https://evil.example"})
    assert reason(evil) == (403, "forbidden_origin")
