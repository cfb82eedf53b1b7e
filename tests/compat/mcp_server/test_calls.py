"""The official SDK's client calls agents: over both protocols, with progress, in sessions, and stops them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from mcp import types

from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_clients import MODERN, OLDER, Told, connected
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

both = pytest.mark.parametrize("mode", [MODERN, OLDER])
HELLO = {"message": "Hello"}


def text_of(result: types.CallToolResult) -> str:
    first = result.content[0]
    assert isinstance(first, types.TextContent)
    return first.text


@both
async def test_agents_that_are_listed_are_tools(server: HectorServer, mode: str) -> None:
    async with connected(server.base_url, mode=mode) as client:
        found = await client.list_tools()

    assert [tool.name for tool in found.tools] == ["assistant", "painter", "writer"]
    assert found.tools[0].description == "Explains things."
    assert found.tools[0].input_schema["required"] == ["message"]


@both
async def test_progress_tells_the_text_and_the_result_has_all_of_it(
    server: HectorServer, upstream: Upstream, mode: str
) -> None:
    upstream.answer(tokens=40, delay=0.01)
    told = Told()
    async with connected(server.base_url, mode=mode) as client:
        result = await client.call_tool("assistant", HELLO, progress_callback=told)

    whole = "".join(f" t{n}" for n in range(40))
    assert text_of(result) == whole
    assert result.structured_content["status"] == "completed"
    assert told.messages[0] == "started"
    assert "".join(told.messages[1:]) == whole
    assert 2 < len(told.messages) < 12  # not one for each of the 40 tokens


@both
async def test_a_session_goes_on_where_the_caller_names_it(
    server: HectorServer, upstream: Upstream, rest: httpx.AsyncClient, mode: str
) -> None:
    async with connected(server.base_url, mode=mode) as client:
        first = await client.call_tool("assistant", HELLO)
        session_id = first.structured_content["session_id"]
        second = await client.call_tool("assistant", {"message": "Again", "session_id": session_id})

    assert second.structured_content["session_id"] == session_id
    assert session_id in str(first.content[1])
    assert len(second.content) == 1  # the caller knows it already
    asked = [message["content"] for message in await Talk(rest, session_id).messages() if message["role"] == "user"]
    assert asked == ["Hello", "Again"]


@both
async def test_a_cancelled_call_stops_the_model(
    server: HectorServer, upstream: Upstream, rest: httpx.AsyncClient, mode: str
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    told = Told()
    async with connected(server.base_url, mode=mode) as client:
        call = asyncio.create_task(client.call_tool("assistant", HELLO, progress_callback=told))
        await eventually(lambda: _has_text(told))
        call.cancel()
        await upstream.wait_for(aborts=1)

        assert upstream.aborts[0].after_tokens == 3
        session = (await rest.get("/agents/assistant/sessions?limit=1")).json()["sessions"][0]
        talk = Talk(rest, session["session_id"])

        async def is_cancelled() -> bool:
            return [message["status"] for message in await talk.messages()] == ["completed", "cancelled"]

        await eventually(is_cancelled)
        assert (await client.call_tool("assistant", HELLO)).structured_content["status"] == "completed"


async def test_a_client_of_the_older_protocol_that_vanishes_leaves_the_turn_its_grace(
    server: HectorServer, upstream: Upstream, rest: httpx.AsyncClient
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    asked = asyncio.create_task(_raw_call(server))
    await upstream.wait_for(requests=1)
    session = (await rest.get("/agents/assistant/sessions?limit=1")).json()["sessions"][0]
    talk = Talk(rest, session["session_id"])
    asked.cancel()  # closes the connection without a word
    turn_id = (await talk.info())["turn"]["turn_id"]
    await upstream.wait_for(aborts=1)

    async def reason() -> Any:
        return (await talk.turn(turn_id)).get("reason")

    assert await eventually(reason) == "disconnected"


async def _raw_call(server: HectorServer) -> None:
    """A call as a client of 2025-11-25 makes it, by hand."""
    headers = {"Authorization": "Bearer key-of-alice", "Accept": "application/json, text/event-stream"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=15, trust_env=False) as client:
        response = await client.post("/mcp", json=_message("initialize", hello, id=1))
        client.headers["mcp-session-id"] = response.headers["mcp-session-id"]
        await client.post("/mcp", json=_message("notifications/initialized", {}))
        await client.post("/mcp", json=_message("tools/call", {"name": "assistant", "arguments": HELLO}, id=2))


def _message(method: str, params: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params, **more}


async def test_a_turn_that_fails_is_an_error_with_the_text_so_far(server: HectorServer, upstream: Upstream) -> None:
    upstream.answer(tokens=3, error_after=2)
    async with connected(server.base_url) as client:
        result = await client.call_tool("assistant", HELLO)

    assert result.is_error
    assert text_of(result) == " t0 t1"
    assert result.structured_content["status"] == "failed"
    assert result.structured_content["error"]["reason"] == "llm_error"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "message must be a text"),
        ({"message": ""}, "message must be a text"),
        ({"message": 5}, "message must be a text"),
        ({"message": "x", "session_id": 5}, "session_id must be a text"),
        ({"message": "x", "sesion_id": "s"}, "Unknown argument 'sesion_id'"),
        ({"message": "x" * 1_000_001}, "longer than"),
    ],
)
async def test_bad_arguments_are_told_to_the_model(server: HectorServer, arguments: dict[str, Any], words: str) -> None:
    async with connected(server.base_url) as client:
        result = await client.call_tool("assistant", arguments)

    assert result.is_error
    assert words in text_of(result)
    assert result.structured_content["status"] == "refused"


async def test_the_same_key_again_is_the_same_turn(server: HectorServer, upstream: Upstream) -> None:
    meta: Any = {"hector/idempotencyKey": "key-1"}
    async with connected(server.base_url) as client:
        first = await client.call_tool("assistant", HELLO, meta=meta)
        again = await client.call_tool("assistant", HELLO, meta=meta)
        other = await client.call_tool("assistant", {"message": "Other"}, meta=meta)

    assert again.structured_content == first.structured_content
    assert len(upstream.requests) == 1
    assert other.structured_content["error"]["reason"] == "idempotency_conflict"


async def _has_text(told: Told) -> bool:
    return " t2" in "".join(told.messages)


async def test_a_slow_client_gets_everything_and_slows_nobody(
    server: HectorServer, upstream: Upstream, rest: httpx.AsyncClient
) -> None:
    upstream.answer(tokens=[f"{n:09d} " * 1000 for n in range(500)])  # 5 MB
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 16)
    meta = {
        "progressToken": 1,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "assistant", "arguments": HELLO, "_meta": meta}
    body = json.dumps(_message("tools/call", params, id=1)).encode()
    head = (
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key-of-alice\r\nConnection: close\r\n"
        "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: assistant\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await upstream.wait_for(requests=1)

    async def is_over() -> bool:  # while nothing is read
        session = (await rest.get("/agents/assistant/sessions?limit=1")).json()["sessions"][0]
        return bool(session["message_count"] == 2)

    await eventually(is_over, within=20)
    came = await reader.read(-1)
    writer.close()
    found = [json.loads(line[6:]) for line in _dechunked(came).splitlines() if line.startswith("data: ")]
    told = [one["params"] for one in found if one.get("method") == "notifications/progress"]
    text = "".join([one["message"] for one in told if one["_meta"]["hector/type"] == "text"])
    assert text == found[-1]["result"]["content"][0]["text"]
    assert len(text) == 5_000_000
    assert max(len(one["message"]) for one in told) <= 50_000


def _dechunked(came: bytes) -> str:
    """The body of a response in chunks."""
    rest, body = came.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body.decode()
