"""Each door once on Postgres: it begins a turn and answers; the database has both, also after the server was killed.

TEST_ON=postgres runs the whole rooms of the doors there (tests/conftest.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import httpx
import openai
import pytest
import pytest_asyncio
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import Message, Part, Role, SendMessageRequest
from websockets.asyncio.client import connect

from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from tests.compat.front_ends.wire import chat, run_input
from tests.fixtures.mcp_clients import connected
from tests.fixtures.postgres import Databases, run
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import DONE, open_stream
from tests.fixtures.web_socket import web_socket

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {
    "server": {"grpc_port": 0, "shutdown_grace": "300ms"},
    "embedders": {"default": {"type": "none"}},
    "llms": {"echo": {"type": "scripted"}},
    "agents": {"assistant": {}},
    "compat": {"vectorshift": {"enabled": True, "prefix": "/vs/v1"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    folder = tmp_path_factory.mktemp("doors")
    started = HectorServer(folder, SETTINGS | {"storage": {"url": databases.create()}})
    await started.start()
    await started.wait_for_grpc()
    yield started
    await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=20, trust_env=False) as opened:
        yield opened


async def by_http(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    session = (await client.post("/agents/assistant/sessions")).json()["session_id"]
    said = await client.post(f"/agents/assistant/sessions/{session}/messages", json={"message": text})
    return str(said.json()["response"])


async def by_web_socket(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    async with web_socket(server.base_url, "/agents/assistant/stream") as socket:
        return await socket.say(text)


async def by_grpc(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        session = await stub.CreateSession(pb.CreateSessionRequest(agent="assistant"))
        sent = pb.SendMessageRequest(agent="assistant", session_id=session.session_id, message=text)
        return "".join([chunk.content async for chunk in stub.StreamMessage(sent) if chunk.type == "text"])


async def by_openai(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{server.base_url}/v1", http_client=http) as sdk:
        return (await sdk.responses.create(model="assistant", input=text)).output_text


async def by_a2a(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    card = await A2ACardResolver(client, f"{server.base_url}/agents/assistant").get_agent_card()
    sdk = ClientFactory(ClientConfig(httpx_client=client)).create(card)
    message = Message(message_id="m1", role=Role.ROLE_USER, parts=[Part(text=text)])
    updates = [event.artifact_update async for event in sdk.send_message(SendMessageRequest(message=message))]
    return "".join([part.text for update in updates for part in update.artifact.parts])


async def by_agui(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    events = await _events(client, "/agents/assistant/agui", run_input(text, thread="by-agui"))
    return "".join([event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"])


async def by_ui_stream(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    events = await _events(client, "/agents/assistant/ui", chat(text, session="by-ui"))
    return "".join([event["delta"] for event in events if event["type"] == "text-delta"])


async def _events(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with open_stream(client, "POST", path, json=body) as stream:
        return [frame.json for frame in await stream.rest() if frame.data != DONE]


async def by_mcp(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    async with connected(server.base_url) as sdk:
        result: Any = await sdk.call_tool("assistant", {"message": text})
    return str(result.content[0].text)


async def by_vectorshift(server: HectorServer, client: httpx.AsyncClient, text: str) -> str:
    url = f"{server.base_url.replace('http', 'ws')}/vs/v1/ws/session"
    said, session = "", None
    async with connect(url, proxy=None) as socket:
        await socket.send(json.dumps({"type": "create_session", "object_type": "agent", "object_id": "assistant"}))
        async for raw in socket:
            frame = json.loads(raw)
            if frame["type"] == "session_created":
                session = frame["session_id"]
                await socket.send(json.dumps({"type": "connect_session", "session_id": session}))
            if frame["type"] == "connect_session":
                await socket.send(json.dumps({"type": "post_message", "session_id": session, "content": text}))
            if frame["type"] == "message_delta":
                said += frame["value"]
            if frame["type"] == "participant_status" and frame["message"]["status"] == "Idle" and said:
                break
    return said


DOORS: list[Callable[[HectorServer, httpx.AsyncClient, str], Awaitable[str]]] = [
    by_http,
    by_web_socket,
    by_grpc,
    by_openai,
    by_a2a,
    by_agui,
    by_ui_stream,
    by_mcp,
    by_vectorshift,
]


@pytest.mark.parametrize("door", DOORS)
async def test_a_door_answers_and_its_turn_is_stored(
    server: HectorServer, client: httpx.AsyncClient, door: Callable[..., Awaitable[str]]
) -> None:
    text = f"Said {door.__name__} with a \u00fc and a \U0001f642"
    assert await door(server, client, text) == text
    stored = f"SELECT role, m.status FROM messages m WHERE content = '{text}' ORDER BY seq"
    assert run(server.database_url, stored) == [("user", "completed"), ("assistant", "completed")]


async def test_all_of_it_is_there_after_the_server_was_killed(server: HectorServer, client: httpx.AsyncClient) -> None:
    assert await by_http(server, client, "Before") == "Before"
    before = run(server.database_url, "SELECT count(*) FROM messages")
    await server.kill()
    await server.start()
    await server.wait_for_grpc()
    listed = (await client.get("/agents/assistant/sessions?limit=200")).json()["sessions"]
    assert sum([one["message_count"] for one in listed]) == before[0][0]
    assert await by_web_socket(server, client, "Again") == "Again"
