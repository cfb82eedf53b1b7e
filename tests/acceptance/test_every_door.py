"""One session, watched through every door at once: while text streams, a tool waits for a yes, and after it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import openai
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import SubscribeToTaskRequest
from websockets.asyncio.client import connect

from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from tests.compat.front_ends.wire import run_input
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_clients import Tasks, ask_task, connected
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import DONE, Stream, open_stream
from tests.fixtures.talk import Talk
from tests.fixtures.web_socket import web_socket

BEFORE, AFTER = "".join([f"before{n} " for n in range(30)]), "".join([f"after{n} " for n in range(30)])
WHOLE = BEFORE + AFTER
SETTINGS: dict[str, Any] = {
    "server": {"grpc_port": 0, "shutdown_grace": "300ms"},
    "embedders": {"default": {"type": "none"}},
    "llms": {
        "demo": {
            "type": "scripted",
            "script": [
                {"text": BEFORE, "delay_ms": 10, "calls": [{"name": "pay", "arguments": {"amount": 5}}]},
                {"when": "paid", "text": AFTER, "delay_ms": 10},
            ],
        },
        "endless": {"type": "scripted", "script": [{"text": BEFORE, "delay_ms": 10, "hang": True}]},
    },
    "tools": {"pay": {"python": "purse:pay", "class": "once"}},
    "agents": {
        "assistant": {"llm": "demo", "tools": ["pay"], "permissions": {"ask": ["pay"]}},
        "endless": {"llm": "endless"},
    },
    "compat": {
        "vectorshift": {"enabled": True, "prefix": "/vs/v1"},
    },
}
PURSE = 'def pay(amount: int) -> str:\n    """Pay."""\n    return f"paid {amount}"\n'


@pytest.fixture
async def server(tmp_path: Path, database_url: str) -> AsyncIterator[HectorServer]:
    (tmp_path / "purse.py").write_text(PURSE)
    started = HectorServer(tmp_path, SETTINGS | {"storage": {"url": database_url}})
    await started.start()
    await started.wait_for_grpc()
    yield started
    await started.close()


@pytest.fixture
async def client(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=20, trust_env=False) as opened:
        yield opened


@dataclass
class Watched:
    """A turn, and what a reader of any door needs to follow it."""

    server: HectorServer
    client: httpx.AsyncClient
    agent: str
    session_id: str
    turn_id: str


# -- a reader for each door: the text of the turn as its client puts it together --------------------------------------


async def by_sse(seen: Watched) -> str:
    frames = await Talk(seen.client, seen.session_id, agent=seen.agent).replay(0)
    return "".join([frame.json["chunk"] for frame in frames if frame.data != DONE and "type" not in frame.json])


async def by_web_socket(seen: Watched) -> str:
    async with web_socket(seen.server.base_url, f"/agents/{seen.agent}/stream") as socket:
        await socket.send(type="attach", session_id=seen.session_id, after=0)
        await socket.until("turn_finished")
        return socket.texts()


async def by_grpc(seen: Watched) -> str:
    text = ""
    async with grpc.aio.insecure_channel(seen.server.grpc_address) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        async for chunk in stub.FollowSession(pb.FollowSessionRequest(agent=seen.agent, session_id=seen.session_id)):
            if chunk.type == "text":
                text += chunk.content
            if chunk.type == "turn_finished":
                break
    return text


async def by_openai(seen: Watched) -> str:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{seen.server.base_url}/v1", http_client=http) as sdk:
        stream = await sdk.responses.retrieve(seen.turn_id.replace("turn_", "resp_"), stream=True)
        return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])


async def by_a2a(seen: Watched) -> str:
    text = ""
    async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
        card = await A2ACardResolver(http, f"{seen.server.base_url}/agents/{seen.agent}").get_agent_card()
        sdk = ClientFactory(ClientConfig(httpx_client=http)).create(card)
        async for event in sdk.subscribe(SubscribeToTaskRequest(id=seen.turn_id)):
            if event.HasField("task"):
                text = "".join([part.text for one in event.task.artifacts for part in one.parts])
            if event.HasField("artifact_update"):
                text += "".join([part.text for part in event.artifact_update.artifact.parts])
        await sdk.close()
    return text


async def by_agui(seen: Watched) -> str:
    """The run that began the turn, sent again; and another one once the first has ended with an interrupt."""
    events = await posted(seen, run_input("Pay", thread=seen.session_id, run="r1"))
    if interrupts := events[-1].get("outcome", {}).get("interrupts"):
        yes = {"interruptId": interrupts[0]["id"], "status": "resolved", "payload": {"approved": True}}
        events += await posted(seen, run_input("", thread=seen.session_id, run="r2", messages=[], resume=[yes]))
    return "".join([event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"])


async def posted(seen: Watched, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with open_stream(seen.client, "POST", f"/agents/{seen.agent}/agui", json=body) as stream:
        return [frame.json for frame in await stream.rest() if frame.data != DONE]


async def by_ui_stream(seen: Watched) -> str:
    """A page that comes back until the call has its outcome: where the call waits, the message is finished for now."""
    path = f"/agents/{seen.agent}/ui/{seen.session_id}/stream"

    async def read() -> list[dict[str, Any]] | None:
        async with open_stream(seen.client, "GET", path) as stream:
            chunks = [frame.json for frame in await stream.rest() if frame.data != DONE]
        return chunks if any(chunk["type"] == "tool-output-available" for chunk in chunks) else None

    chunks = await eventually(read)
    assert chunks is not None
    return "".join([chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta"])


async def by_mcp(seen: Watched) -> str:
    async with connected(seen.server.base_url, extensions=[Tasks()]) as sdk:

        async def over() -> dict[str, Any] | None:
            found = await ask_task(sdk, "tasks/get", f"{seen.agent}/{seen.session_id}/{seen.turn_id}")
            return found if found["status"] in ("completed", "cancelled", "failed") else None

        found = await eventually(over)
    assert found is not None
    return "".join([part["text"] for part in found["result"]["content"]])


async def by_vectorshift(seen: Watched) -> str:
    text = ""
    url = f"{seen.server.base_url.replace('http', 'ws')}/vs/v1/ws/session"
    async with connect(url, proxy=None) as socket:
        await socket.send(json.dumps({"type": "connect_session", "session_id": seen.session_id}))
        async for raw in socket:
            frame = json.loads(raw)
            if frame["type"] == "message_delta":
                text += frame["value"]
            if frame["type"] == "participant_status" and frame["message"]["status"] == "Idle" and text:
                break
    return text


READERS: list[Callable[[Watched], Awaitable[str]]] = [
    by_sse,
    by_web_socket,
    by_grpc,
    by_openai,
    by_a2a,
    by_agui,
    by_ui_stream,
    by_mcp,
    by_vectorshift,
]


async def begun(server: HectorServer, client: httpx.AsyncClient, agent: str = "assistant") -> Watched:
    """A turn that an AG-UI page began, and left."""
    async with open_stream(
        client, "POST", f"/agents/{agent}/agui", json=run_input("Pay", thread="together", run="r1")
    ) as stream:
        await first(stream)
    turn = (await Talk(client, "together", agent=agent).info())["turn"]
    return Watched(server, client, agent, "together", turn["turn_id"])


async def first(stream: Stream) -> None:
    while (await anext(stream)).json["type"] != "TEXT_MESSAGE_CONTENT":
        pass


async def test_every_door_tells_the_same_text_of_one_turn(server: HectorServer, client: httpx.AsyncClient) -> None:
    seen = await begun(server, client)
    texts = await asyncio.gather(*[read(seen) for read in READERS])
    told = {read.__name__: text for read, text in zip(READERS, texts, strict=True)}
    stored = (await Talk(client, "together").texts())[1:]
    assert "".join(text for text in stored if not text.startswith("paid")) == WHOLE
    assert told.pop("by_mcp").startswith(AFTER.strip()), "the answer: the last message"
    assert {name: text for name, text in told.items() if text != WHOLE} == {}
