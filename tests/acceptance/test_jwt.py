"""Tokens of a company's login, at every door: who they speak for, whom they never name, and keys that change."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio

from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from tests.fixtures.issuer import AUDIENCE, ISSUER, Issuer
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.web_socket import web_socket
from tests.rpc.calls import refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
AGENT = "/agents/assistant"
OTHER = (403, "forbidden_user")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer("RS256") as issuer:
        yield issuer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    started = make_server(tmp_path_factory.mktemp("jwt"), issuer)
    await started.start()
    await started.wait_for_grpc()
    yield started
    await started.close()


def make_server(folder: Path, issuer: Issuer) -> HectorServer:
    return HectorServer(
        folder,
        {
            "server": {"grpc_port": 0, "shutdown_grace": "300ms"},
            "embedders": {"default": {"type": "none"}},
            "auth": {
                "keys": {"operator": "key-of-operator-00"},
                "jwt": {"jwks_url": issuer.url, "issuer": ISSUER, "audience": AUDIENCE, "scopes_claim": "scope"},
            },
            "llms": {"demo": {"type": "scripted", "script": ["Noted."]}},
            "agents": {"assistant": {"memory": {"longterm": {"storage_scope": "conversational"}}}},
        },
    )


def client(server: HectorServer, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=15, trust_env=False)


def token(issuer: Issuer, user: str = "ann", *, scope: str = "chat read memory", **claims: Any) -> str:
    return issuer.token(sub=user, scope=scope, **claims)


async def test_each_user_sees_their_own_and_an_administrator_sees_all(server: HectorServer, issuer: Issuer) -> None:
    async with (
        client(server, token(issuer)) as ann,
        client(server, token(issuer, "ben")) as ben,
        client(server, token(issuer, "boss", scope="read admin")) as boss,
        client(server, "key-of-operator-00") as operator,
    ):
        talk = await Talk.begin(ann)
        assert (await talk.say("Hi"))["response"] == "Noted."
        assert (await talk.info())["user_id"] == "ann"
        unknown = await ben.get(f"{AGENT}/sessions/unknown")
        foreign = await ben.get(talk.path)
        assert reason(foreign) == (404, "session_not_found")
        assert (
            foreign.json()["error"]["message"].replace(talk.session_id, "unknown") == unknown.json()["error"]["message"]
        )
        assert good(await ben.get(f"{AGENT}/sessions"))["sessions"] == []
        assert reason(await operator.get(talk.path)) == (404, "session_not_found")
        assert talk.session_id in [one["session_id"] for one in good(await boss.get(f"{AGENT}/sessions"))["sessions"]]
        assert "ann" in [row["user_id"] for row in good(await boss.get("/usage?by=user"))["usage"]]


@pytest.mark.parametrize("scope", ["chat read memory", "chat read memory admin"])
async def test_a_token_never_names_another_user(server: HectorServer, issuer: Issuer, scope: str) -> None:
    async with client(server, token(issuer, scope=scope)) as ann:
        talk = await Talk.begin(ann, user_id="ann")
        assert reason(await ann.post(f"{AGENT}/sessions", json={"user_id": "ben"})) == OTHER
        assert reason(await ann.post(f"{AGENT}/messages", json={"message": "Hi", "user_id": "ben"})) == OTHER
        stream = await ann.post(f"{talk.path}/messages/stream", json={"message": "Hi", "user_id": "ben"})
        assert reason(stream) == OTHER
        for method, path in (("GET", f"{AGENT}/sessions"), ("GET", f"{AGENT}/memories"), ("GET", talk.path)):
            assert reason(await ann.request(method, f"{path}?user_id=ben")) == OTHER
            assert reason(await ann.request(method, path, headers={"X-User-Id": "ben"})) == OTHER
            escaped = await ann.request(method, path, headers={"X-User-Id*": "UTF-8''b%65n"})
            assert reason(escaped) == OTHER
            good(await ann.request(method, f"{path}?user_id=ann", headers={"X-User-Id": "ann"}))
        lines = '{"text": "I like tea", "user_id": "ben"}'
        good(await ann.post(f"{AGENT}/memories/import", content=lines))
        kept = good(await ann.get(f"{AGENT}/memories"))["memories"]
        assert {one["user_id"] for one in kept} == {"ann"}
        moved = await ann.post(f"{AGENT}/sessions/import", json={"messages": [], "user_id": "ben"})
        assert reason(moved) == OTHER
        async with web_socket(server.base_url, headers=dict(ann.headers)) as socket:
            assert await socket.refusal(message="Hi", user_id="ben") == "forbidden_user"


async def test_grpc_takes_tokens_in_the_metadata(server: HectorServer, issuer: Issuer) -> None:
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        metadata = (("authorization", f"Bearer {token(issuer)}"),)
        message = pb.SendMessageRequest(agent="assistant", message="Hi")
        assert (await stub.SendMessage(message, metadata=metadata)).response == "Noted."
        other = pb.SendMessageRequest(agent="assistant", message="Hi", user_id="ben")
        denied = (grpc.StatusCode.PERMISSION_DENIED, "forbidden_user")
        assert await refusal(stub.SendMessage(other, metadata=metadata)) == denied
        expired = (("authorization", f"Bearer {token(issuer, exp=int(time.time()) - 100)}"),)
        assert (await refusal(stub.SendMessage(message, metadata=expired)))[1] == "unauthenticated"


async def test_scopes_are_those_of_the_token(server: HectorServer, issuer: Issuer) -> None:
    async with client(server, token(issuer, scope="read openid")) as ann:
        good(await ann.get(f"{AGENT}/sessions"))
        assert reason(await ann.post(f"{AGENT}/sessions")) == (403, "missing_scope")


async def test_what_is_not_good_here_is_401_with_the_reason(server: HectorServer, issuer: Issuer) -> None:
    for claims, word in (
        ({"iss": "https://evil.example"}, "issuer"),
        ({"aud": "another"}, "aud"),
        ({"exp": int(time.time()) - 100}, "expired"),
    ):
        async with client(server, token(issuer, **claims)) as http:
            refused = await http.get("/agents")
            assert reason(refused) == (401, "unauthenticated")
            assert word in refused.json()["error"]["message"]
            assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_page_with_a_ticket_of_a_token(server: HectorServer, issuer: Issuer) -> None:
    async with client(server, token(issuer)) as ann, httpx.AsyncClient(base_url=server.base_url) as page:
        talk = await Talk.begin(ann)
        await talk.say("Hi")
        ticket = good(await ann.post(f"{talk.path}/tickets"))["ticket"]
        address = f"{talk.path}/messages/stream?after=0&until=turn_end&ticket={ticket}"
        assert "Noted." in (await page.get(address)).text
        assert reason(await page.get(f"{address}&user_id=ben")) == (422, "invalid_request")


async def test_keys_that_change_and_a_login_that_is_down(tmp_path: Path) -> None:
    async with Issuer("RS256") as issuer:
        server = make_server(tmp_path, issuer)
        await server.start()
        try:
            await change_keys(server, issuer)
        finally:
            await server.close()


async def change_keys(server: HectorServer, issuer: Issuer) -> None:
    before = token(issuer)
    issuer.add("second")
    async with client(server, token(issuer)) as ann:  # the second key is not known yet
        good(await ann.get("/agents"))
    issuer.is_down = True
    asked = issuer.requests
    for made in (before, token(issuer), token(issuer, "ben")):
        async with client(server, made) as http:
            good(await http.get("/agents"))
    issuer.add("third")
    for _ in range(20):
        async with client(server, token(issuer)) as http:
            assert reason(await http.get("/agents")) == (401, "unauthenticated")
    assert issuer.requests - asked <= 1
    assert before not in server.log_text
