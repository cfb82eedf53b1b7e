"""A server with a few agents, and the client of the official SDK on each wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest
import pytest_asyncio
from a2a.client import A2ACardResolver, Client, ClientCallContext, ClientConfig, ClientFactory
from a2a.client.auth import AuthInterceptor, CredentialService
from a2a.types import Message, Part, Role, SendMessageConfiguration, SendMessageRequest, StreamResponse, TaskState

from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

KEYS = {"alice": "key-of-alice", "bob": "key-of-bob"}
Connect = Callable[..., Awaitable[Client]]


def settings_for(upstream: Upstream) -> dict[str, Any]:
    model = {"type": "openai", "model": "m", "host": upstream.base_url, "api_key": "k", "max_retries": 0}
    return {
        "server": {"shutdown_grace": "300ms", "grpc_port": 0},
        "auth": {"keys": KEYS},
        "llms": {
            "upstream": model,
            "greets": {"type": "scripted", "script": [{"text": "Good morning, and hello."}]},
            "writes": {
                "type": "scripted",
                "script": [
                    {"when": "File ", "text": "It is written."},
                    {"when": "refused this call", "text": "Then not."},
                    {
                        "text": "I write.",
                        "calls": [{"name": "write_file", "arguments": {"path": "a.txt", "content": "x"}}],
                    },
                ],
            },
            "asks": {
                "type": "scripted",
                "script": [
                    {"when": "blue", "text": "Blue it is."},
                    {"calls": [{"name": "ask_user", "arguments": {"question": "Which?", "choices": ["red", "blue"]}}]},
                ],
            },
        },
        "agents": {
            "talker": {"llm": "upstream", "description": "Talks."},
            "hasty": {"llm": "upstream", "streaming": {"disconnect_grace": "0s"}},
            "greeter": {"llm": "greets", "name": "Greeter"},
            "paced": {"llm": "greets", "streaming": {"chunk_size": 5}},
            "writer": {"llm": "writes", "tools": ["write_file"], "permissions": {"ask": ["write_file"]}},
            "asker": {"llm": "asks", "tools": ["ask_user"]},
            "hidden": {"llm": "greets", "visibility": "internal"},
        },
        "compat": {"a2a": {"enabled": True, "push": True, "push_private": ["127.0.0.1"]}},
    }


class _Key(CredentialService):
    """One key, for whatever the card wants."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def get_credentials(self, security_scheme_name: str, context: ClientCallContext | None) -> str | None:
        return self._key


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def provider() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(provider: Upstream) -> Upstream:
    """The provider, as new: what another test left unasked answers nothing here."""
    provider.reset()
    return provider


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(tmp_path_factory.mktemp("hector"), settings_for(provider))
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest_asyncio.fixture(loop_scope="session")
async def connect(server: HectorServer) -> AsyncIterator[Connect]:
    async with connecting(server) as connect:
        yield connect


@asynccontextmanager
async def connecting(server: HectorServer) -> AsyncIterator[Connect]:
    """`await connect("greeter", "JSONRPC", key="bob")`: a client of the SDK, made from the agent's card."""
    opened: list[httpx.AsyncClient] = []
    connected: list[Client] = []

    async def made(agent: str, binding: str = "JSONRPC", *, key: str = "alice") -> Client:
        client = httpx.AsyncClient(timeout=15, trust_env=False)
        opened.append(client)
        await server.wait_for_grpc()  # another test may have started it a moment ago
        card = await A2ACardResolver(client, f"{server.base_url}/agents/{agent}").get_agent_card()
        config = ClientConfig(
            httpx_client=client,
            grpc_channel_factory=grpc.aio.insecure_channel,
            supported_protocol_bindings=[binding],
        )
        made = ClientFactory(config).create(card, [AuthInterceptor(_Key(KEYS[key]))])
        connected.append(made)
        return made

    try:
        yield made
    finally:
        for one in connected:
            await one.close()
        for client in opened:
            await client.aclose()


def request(text: str, *, returns_at_once: bool = False, task_id: str = "", context_id: str = "") -> SendMessageRequest:
    parts = [Part(text=text)]
    message = Message(message_id=uuid4().hex, role=Role.ROLE_USER, parts=parts, task_id=task_id, context_id=context_id)
    configuration = SendMessageConfiguration(return_immediately=returns_at_once)
    return SendMessageRequest(message=message, configuration=configuration)


def text_of(events: list[StreamResponse]) -> str:
    """What a client shows: the artifact, as the updates put it together."""
    text = ""
    for event in events:
        if event.HasField("artifact_update"):
            update = event.artifact_update
            said = "".join([part.text for part in update.artifact.parts])
            text = text + said if update.append else said
    return text


def states_of(events: list[StreamResponse]) -> list[str]:
    """The states a task went through, each once in a row."""
    found: list[str] = []
    for event in events:
        if event.HasField("status_update"):
            state = TaskState.Name(event.status_update.status.state).removeprefix("TASK_STATE_")
            if found[-1:] != [state]:
                found.append(state)
    return found
