"""A key does what its scopes say, on the agents that it is for, whatever door it comes through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pytest
import pytest_asyncio
from mcp.shared.exceptions import MCPError
from websockets.asyncio.client import connect

from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from tests.fixtures.mcp_clients import connected
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.web_socket import web_socket
from tests.rpc.calls import refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISSING = (403, "missing_scope")
SCOPES: dict[str, list[str]] = {
    "reader": ["read"],
    "talker": ["chat"],
    "approver": ["read", "approve"],
    "rememberer": ["memory"],
    "boss": ["admin"],
    "usual": ["chat", "read", "approve", "memory"],
}
SETTINGS: dict[str, Any] = {
    "server": {"grpc_port": 0, "shutdown_grace": "300ms"},
    "embedders": {"default": {"type": "none"}},
    "auth": {
        "keys": {
            "alice": "key-of-alice-0000",
            "limited": {"key": "key-of-limited-00", "agents": ["assistant"]},
            **{name: {"key": f"key-of-{name}-00000", "scopes": scopes} for name, scopes in SCOPES.items()},
        }
    },
    "llms": {"demo": {"type": "scripted", "script": ["Noted."]}},
    "agents": {"assistant": {}, "other": {}},
    "compat": {"vectorshift": {"enabled": True, "prefix": "/vs/v1"}},
}
AGENT = "/agents/assistant"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    started = HectorServer(Path(tmp_path_factory.mktemp("scopes")), SETTINGS)
    await started.start()
    await started.wait_for_grpc()
    yield started
    await started.close()


def bearer(name: str) -> dict[str, str]:
    given = SETTINGS["auth"]["keys"][name]
    return {"Authorization": f"Bearer {given if isinstance(given, str) else given['key']}"}


def client(server: HectorServer, name: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.base_url, headers=bearer(name), timeout=15, trust_env=False)


def refused_scope(response: httpx.Response) -> str:
    assert reason(response) == MISSING
    return str(response.json()["error"]["details"]["scope"])


@pytest.mark.parametrize("name", [*SCOPES, "alice"])
async def test_each_scope_opens_its_own_addresses_over_http(server: HectorServer, name: str) -> None:
    wanted: dict[str, list[tuple[str, str, Any]]] = {
        "chat": [("POST", f"{AGENT}/sessions", {}), ("POST", f"{AGENT}/messages", {"message": "Hi"})],
        "read": [("GET", f"{AGENT}/sessions", None), ("GET", "/agents", None), ("GET", "/v1/models", None)],
        "memory": [("GET", f"{AGENT}/memories", None)],
        "admin": [("GET", "/usage", None), ("POST", f"{AGENT}/forget", {"phrase": "nothing of mine"})],
        "approve": [("POST", f"{AGENT}/sessions/s/approvals/c", {"approved": True})],
    }
    async with client(server, name) as http:
        for scope, requests in wanted.items():
            for method, path, body in requests:
                answer = await http.request(method, path, json=body)
                if scope in SCOPES.get(name, wanted):
                    assert answer.status_code not in (401, 403), (path, answer.text)
                elif path.startswith("/v1"):
                    assert answer.status_code == 403, answer.text
                else:
                    assert refused_scope(answer) == scope, path


async def test_without_a_key_it_is_401_before_any_scope(server: HectorServer) -> None:
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as http:
        assert reason(await http.post(f"{AGENT}/messages", json={"message": "Hi"})) == (401, "unauthenticated")


async def test_an_address_that_is_not_there_is_404_and_a_wrong_method_405(server: HectorServer) -> None:
    async with client(server, "reader") as http:
        assert (await http.get("/nothing/here")).status_code == 404
        assert (await http.put("/agents")).status_code == 405


async def test_an_agent_that_a_key_is_not_for_is_an_unknown_one(server: HectorServer) -> None:
    async with client(server, "limited") as http, client(server, "alice") as alice:
        session_id = (await Talk.begin(alice, agent="other")).session_id
        assert [one["name"] for one in good(await http.get("/agents"))["agents"]] == ["assistant"]
        assert [one["id"] for one in good(await http.get("/v1/models"))["data"]] == ["assistant"]
        for method, path in (
            ("GET", ""),
            ("POST", "/sessions"),
            ("POST", "/messages"),
            ("GET", f"/sessions/{session_id}"),
            ("POST", "/messages/stream"),
            ("GET", "/memories"),
            ("POST", "/a2a"),
            ("POST", "/agui"),
        ):
            body = {"message": "Hi", "threadId": "t", "runId": "r"} if method == "POST" else None
            foreign = await http.request(method, f"/agents/other{path}", json=body)
            unknown = await http.request(method, f"/agents/nobody{path}", json=body)
            assert reason(foreign) == (404, "agent_not_found"), path
            assert foreign.json()["error"]["message"] == unknown.json()["error"]["message"].replace("nobody", "other")
        good(await http.post(f"{AGENT}/messages", json={"message": "Hi"}))
        model = {"model": "other", "messages": [{"role": "user", "content": "Hi"}]}
        assert (await http.post("/v1/chat/completions", json=model)).status_code == 404


async def test_frames_of_a_socket_need_what_their_requests_need(server: HectorServer) -> None:
    async with client(server, "alice") as alice:
        session_id = (await Talk.begin(alice)).session_id
    async with web_socket(server.base_url, headers=bearer("reader")) as socket:
        assert await socket.refusal(message="Hi") == "missing_scope"
        assert await socket.refusal(type="cancel", session_id=session_id) == "missing_scope"
        assert await socket.refusal(type="approve", session_id=session_id, call_id="c") == "missing_scope"
        assert await socket.refusal(type="attach", session_id=session_id) == "session_not_found"
        assert (await socket.ask("ping"))["type"] == "pong"
    async with web_socket(server.base_url, headers=bearer("talker")) as socket:
        assert await socket.say("Hi") == "Noted."
        assert await socket.refusal(type="attach", session_id=session_id) == "missing_scope"


async def test_calls_of_grpc(server: HectorServer) -> None:
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        reader = (("authorization", bearer("reader")["Authorization"]),)
        talker = (("authorization", bearer("talker")["Authorization"]),)
        message = pb.SendMessageRequest(agent="assistant", message="Hi")
        denied = (grpc.StatusCode.PERMISSION_DENIED, "missing_scope")
        assert await refusal(stub.SendMessage(message, metadata=reader)) == denied
        assert (await stub.SendMessage(message, metadata=talker)).response == "Noted."
        listing = pb.ListSessionsRequest(agent="assistant")
        assert await refusal(stub.ListSessions(listing, metadata=talker)) == denied
        await stub.ListSessions(listing, metadata=reader)
        session = await stub.CreateSession(pb.CreateSessionRequest(agent="assistant"), metadata=talker)
        erase = pb.DeleteSessionRequest(agent="assistant", session_id=session.session_id, forget_all=True)
        assert await refusal(stub.DeleteSession(erase, metadata=talker)) == denied


async def test_messages_of_a2a_and_mcp(server: HectorServer) -> None:
    async with client(server, "reader") as http:
        call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": A2A_MESSAGE}}
        told = good(await http.post(f"{AGENT}/a2a", json=call, headers={"A2A-Version": "1.0"}))
        assert "missing_scope" in orjson.dumps(told["error"]).decode()
        listing = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}
        assert "result" in good(await http.post(f"{AGENT}/a2a", json=listing, headers={"A2A-Version": "1.0"}))
    async with connected(server.base_url, key="key-of-reader-00000") as mcp:
        assert len((await mcp.list_tools()).tools) == 2
        with pytest.raises(MCPError, match="scope chat"):
            await mcp.call_tool("assistant", {"message": "Hi"})


A2A_MESSAGE = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "Hi."}]}


async def test_requests_of_a_vectorshift_client(server: HectorServer) -> None:
    url = server.base_url.replace("http://", "ws://") + "/vs/v1/ws/session"
    async with connect(url, additional_headers=bearer("reader"), proxy=None) as socket:
        await socket.send(orjson.dumps({"type": "create_session", "object_id": "assistant"}).decode())
        assert "scope chat" in str(await socket.recv())
    async with client(server, "usual") as http:
        assert (await http.get("/vs/v1/agents")).status_code == 200
        created = await http.post("/vs/v1/agent", json={"name": "Mine"})
        assert refused_scope(created) == "admin"


async def test_terminating_may_not_erase_memories_without_their_scope(server: HectorServer) -> None:
    async with client(server, "talker") as http:
        talk = await Talk.begin(http)
        assert refused_scope(await http.delete(f"{talk.path}?forget=all")) == "memory"
        good(await http.delete(talk.path))
