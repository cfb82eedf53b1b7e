"""Who gets no socket, and what a ticket opens on one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio

from tests.acceptance.conftest import settings_for
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good
from tests.fixtures.upstream import Upstream
from tests.fixtures.web_socket import WebSocketTalk, handshake, web_socket

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM = "/agents/assistant/stream"
PAGE = "https://app.example"
ALICE, BOB = {"Authorization": "Bearer key-of-alice-0000"}, {"Authorization": "Bearer key-of-bob-000000"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    changes = {
        "auth": {"keys": {"alice": ALICE["Authorization"][7:], "bob": BOB["Authorization"][7:]}},
        "server": {"cors_origins": [PAGE], "shutdown_grace": "300ms"},
        "logging": {"level": "debug"},
        "agents": {"assistant": {}, "hidden": {"visibility": "private"}},
    }
    server = HectorServer(tmp_path_factory.mktemp("hector"), settings_for(provider, changes))
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def alice(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, headers=ALICE, trust_env=False) as client:
        yield client


async def ticket_for(talk: Talk, *can: str) -> str:
    return str(good(await talk.client.post(f"{talk.path}/tickets", json={"can": list(can) or ["read"]}))["ticket"])


@pytest.mark.parametrize(
    ("path", "headers", "refused"),
    [
        (STREAM, {}, (401, "unauthenticated")),
        (STREAM, {"Authorization": "Bearer wrong"}, (401, "unauthenticated")),
        (STREAM, {"Origin": PAGE}, (1008, "unauthenticated")),
        (f"{STREAM}?ticket=ticket_AAAA", {"Origin": PAGE}, (1008, "unauthenticated")),
        (f"{STREAM}?ticket=ticket_AAAA", {}, (401, "unauthenticated")),
        (STREAM, {**ALICE, "Origin": "https://evil.example"}, (403, "forbidden_origin")),
        (f"{STREAM}?ticket=ticket_AAAA", {"Origin": "https://evil.example"}, (403, "forbidden_origin")),
        (STREAM, {**ALICE, "Origin": "null"}, (403, "forbidden_origin")),
        ("/agents/unknown/stream", ALICE, (4404, "agent_not_found")),
        ("/agents/hidden/stream", ALICE, (4404, "agent_not_found")),
        ("/agents/unknown/stream", {}, (401, "unauthenticated")),
        (f"{STREAM}?session_id=unknown", ALICE, (4404, "session_not_found")),
        ("/agents/assistant/sessions", ALICE, (404, "not_found")),
    ],
    ids=range(13),
)
async def test_strangers_get_no_socket(
    server: HectorServer, path: str, headers: dict[str, str], refused: tuple[int, str]
) -> None:
    assert await handshake(server.base_url, path, headers) == refused


async def test_a_session_of_another_key_is_unknown_word_for_word(
    alice: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(alice)
    await talk.say("A secret")
    async with web_socket(server.base_url, headers=BOB) as socket:
        for kind in ("message", "attach", "cancel"):
            said = []
            for session_id in (talk.session_id, "unknown"):
                answer = await socket.ask(kind, message="Hello", session_id=session_id)
                said.append({**answer["error"], "message": answer["error"]["message"].replace(session_id, "…")})
            assert said[0] == said[1]
            assert said[0]["reason"] == "session_not_found"
    assert await handshake(server.base_url, f"{STREAM}?session_id={talk.session_id}", BOB) == (
        4404,
        "session_not_found",
    )
    assert len(upstream.requests) == 1


async def test_a_terminated_session_in_the_address_closes_with_its_own_code(
    alice: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(alice)
    ticket = await ticket_for(talk)
    await talk.terminate()
    path = f"{STREAM}?session_id={talk.session_id}"
    assert await handshake(server.base_url, path, ALICE) == (4410, "session_terminated")
    refused = await handshake(server.base_url, f"{STREAM}?ticket={ticket}", {"Origin": PAGE})
    assert refused == (4410, "session_terminated")


async def test_users_below_a_key_have_their_own_sessions(
    alice: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(alice, user_id="ann")
    async with web_socket(server.base_url, headers={**ALICE, "X-User-Id": "ben"}) as socket:
        assert await socket.refusal(message="Hello", session_id=talk.session_id) == "session_not_found"
        assert await socket.refusal(message="Hello", user_id="ann") == "invalid_request"
    async with web_socket(server.base_url, headers=ALICE) as socket:
        assert await socket.refusal(message="Hello", session_id=talk.session_id, user_id="ben") == "session_not_found"
        assert await socket.say("Hello", session_id=talk.session_id, user_id="ann") == " t0 t1 t2"


# -- tickets -----------------------------------------------------------------------------------------


@asynccontextmanager
async def open_with(server: HectorServer, ticket: str) -> AsyncIterator[WebSocketTalk]:
    async with web_socket(server.base_url, f"{STREAM}?ticket={ticket}", headers={"Origin": PAGE}) as socket:
        yield socket


async def test_a_ticket_to_chat_opens_its_session_and_no_other(
    alice: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk, other = await Talk.begin(alice), await Talk.begin(alice)
    ticket = await ticket_for(talk, "read", "chat")
    async with open_with(server, ticket) as socket:
        assert await socket.say("Hello") == " t0 t1 t2"
        assert await talk.texts() == ["Hello", " t0 t1 t2"]
        for kind in ("message", "attach", "cancel"):
            assert await socket.refusal(type=kind, message="Hi", session_id=other.session_id) == "session_not_found"
        assert await socket.refusal(type="approve", call_id="c", approved=True) == "forbidden_ticket"
        assert (await socket.ask("cancel"))["turn"] is None
    assert await other.texts() == []


async def test_a_ticket_to_read_sends_nothing(
    alice: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(alice)
    await talk.say("Hello")
    async with open_with(server, await ticket_for(talk)) as socket:
        for kind in ("message", "cancel"):
            assert await socket.refusal(type=kind, message="Hi") == "forbidden_ticket"
        await socket.send(type="attach", after=0)
        await socket.until("turn_finished")
        assert socket.texts() == " t0 t1 t2"
        await talk.terminate()
        assert await socket.closed() == 4410
    assert len(upstream.requests) == 1


async def test_a_socket_whose_ticket_has_become_void_closes_with_its_next_frame(
    alice: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(alice)
    async with open_with(server, await ticket_for(talk, "read", "chat")) as socket:
        await socket.ask("ping")
        await talk.terminate()
        assert await socket.refusal(message="Hello") == "session_terminated"
        assert await socket.closed() == 4410


async def test_a_ticket_is_for_the_socket_of_its_own_agent_and_whole(
    alice: httpx.AsyncClient, server: HectorServer
) -> None:
    talk = await Talk.begin(alice)
    ticket = await ticket_for(talk)
    for wrong in (ticket[:-4], ticket + "AAAA", ticket[:-8] + ticket[-8:].swapcase(), f"{ticket}&ticket={ticket}"):
        refused = await handshake(server.base_url, f"{STREAM}?ticket={wrong}", {"Origin": PAGE})
        assert refused == (1008, "unauthenticated"), wrong
    assert await handshake(server.base_url, f"/agents/hidden/stream?ticket={ticket}", {}) == (401, "unauthenticated")


async def test_no_ticket_is_written_to_the_log(
    alice: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(alice)
    ticket = await ticket_for(talk)
    async with open_with(server, ticket) as socket:
        await socket.ask("ping")
    await handshake(server.base_url, f"{STREAM}?ticket={ticket}&a=%00", {})
    await handshake(server.base_url, f"{STREAM}?ticket={ticket}", {"Origin": "https://evil.example"})
    await handshake(server.base_url, f"/agents/hidden/stream?ticket={ticket}", {})
    assert ticket not in server.log_text
    assert "Hello" not in server.log_text
