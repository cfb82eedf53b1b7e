"""Who may call what: no key, a wrong one, another principal's session, task and connection, pages from elsewhere."""

from __future__ import annotations

import json

import httpx
import pytest
from mcp.shared.exceptions import MCPError

from tests.fixtures.mcp_clients import OLDER, Tasks, ask_task, begin_task, connected
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}
MODERN_HEADERS = {
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "assistant",
    "Content-Type": "application/json",
}
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "assistant", "arguments": {"message": "MESSAGE"}, "_meta": META},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


async def post(server: HectorServer, headers: dict[str, str], body: object = INITIALIZE) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as client:
        return await client.post("/mcp", json=body, headers={**ACCEPT, **headers})


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_without_the_right_key_nothing_is_answered(server: HectorServer, headers: dict[str, str]) -> None:
    response = await post(server, headers)

    assert response.status_code == 401
    assert response.json()["error"]["reason"] == "unauthenticated"


async def test_a_page_from_elsewhere_is_kept_out(server: HectorServer) -> None:
    response = await post(server, {"Authorization": "Bearer key-of-alice", "Origin": "https://evil.example"})

    assert response.status_code == 403


async def test_a_body_that_is_too_large_is_refused(server: HectorServer) -> None:
    response = await post(server, {"Authorization": "Bearer key-of-alice"}, ["x" * (1 << 20)])

    assert response.status_code == 413


@pytest.mark.parametrize(
    "message", ['"\\ud800"', "9" * 30, "[" * 300 + "]" * 300, "[" * 100_000 + "]" * 100_000, "NaN"], ids=lambda m: m[:9]
)
async def test_a_request_that_cannot_be_stored_is_refused(server: HectorServer, message: str) -> None:
    body = json.dumps(CALL).replace('"MESSAGE"', message).encode()
    headers = {"Authorization": "Bearer key-of-alice", **MODERN_HEADERS}
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as client:
        response = await client.post("/mcp", content=body, headers={**ACCEPT, **headers})

    assert response.status_code in (200, 400)
    found = response.json()
    assert found.get("error", {}).get("code") in (-32700, -32600, -32602) or found["result"]["isError"], found


async def test_a_null_character_is_replaced_as_over_http(server: HectorServer, upstream: Upstream) -> None:
    async with connected(server.base_url) as client:
        result = await client.call_tool("assistant", {"message": "a\0b"})

    assert not result.is_error
    assert upstream.requests[-1].json["messages"][-1]["content"] == "a\ufffdb"


async def test_somebody_elses_session_is_an_unknown_one(server: HectorServer, upstream: Upstream) -> None:
    async with connected(server.base_url) as alice, connected(server.base_url, key="key-of-bob") as bob:
        mine = await alice.call_tool("assistant", {"message": "Hello"})
        session_id = mine.structured_content["session_id"]
        foreign = await bob.call_tool("assistant", {"message": "Hello", "session_id": session_id})
        unknown = await bob.call_tool("assistant", {"message": "Hello", "session_id": "sess_unknown"})

    assert foreign.structured_content["error"]["reason"] == "session_not_found"
    assert str(foreign.content).replace(session_id, "sess_unknown") == str(unknown.content)


@pytest.mark.parametrize("name", ["secret", "hidden-not", "nobody"])
async def test_agents_that_are_not_offered_are_no_tools(server: HectorServer, name: str) -> None:
    async with connected(server.base_url) as client:
        with pytest.raises(MCPError, match=f"Unknown tool: {name}"):
            await client.call_tool(name, {"message": "Hello"})


async def test_somebody_elses_task_is_an_unknown_one(server: HectorServer, upstream: Upstream) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    async with (
        connected(server.base_url, extensions=[Tasks()]) as alice,
        connected(server.base_url, key="key-of-bob", extensions=[Tasks()]) as bob,
    ):
        task = await begin_task(alice, "assistant", "Hello")
        for method in ("tasks/get", "tasks/cancel"):
            with pytest.raises(MCPError, match="Task not found") as refused:
                await ask_task(bob, method, task)
            assert refused.value.code == -32602
        assert (await ask_task(alice, "tasks/get", task))["status"] == "working"
        await ask_task(alice, "tasks/cancel", task)


async def test_a_client_that_knows_no_tasks_may_not_ask_for_them(server: HectorServer) -> None:
    async with connected(server.base_url) as client:
        with pytest.raises(MCPError) as refused:
            await ask_task(client, "tasks/get", "assistant/s/t")

    assert refused.value.code == -32021


async def test_a_connection_of_the_older_protocol_belongs_to_its_key(server: HectorServer) -> None:
    response = await post(server, {"Authorization": "Bearer key-of-alice"})
    stolen = {"Authorization": "Bearer key-of-bob", "mcp-session-id": response.headers["mcp-session-id"]}
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}

    assert (await post(server, stolen, listing)).status_code == 404


async def test_another_key_sees_the_same_agents_of_the_older_protocol(server: HectorServer) -> None:
    async with connected(server.base_url, key="key-of-bob", mode=OLDER) as client:
        assert len((await client.list_tools()).tools) == 3
