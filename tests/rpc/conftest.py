"""One server for the tests of a module, and a client that generated code makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio

from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from tests.fixtures.server import HectorServer

KEYS = {"alice": "key-of-alice-0123", "bob": "key-of-bob-4567890"}
ALICE = (("authorization", f"Bearer {KEYS['alice']}"),)
BOB = (("authorization", f"Bearer {KEYS['bob']}"),)
WORDS = "The capital of France is Paris."


def agent(name: str, **more: Any) -> dict[str, Any]:
    return {"llm": name, **more}


SETTINGS: dict[str, Any] = {
    "server": {"grpc_port": 0, "max_message": 500},
    "auth": {"keys": KEYS},
    "embedders": {"default": {"type": "none"}},
    "llms": {
        "talk": {"type": "scripted", "script": [WORDS]},
        "hang": {"type": "scripted", "script": [{"text": "One two three ", "hang": True}]},
        "slow": {"type": "scripted", "script": [{"text": "word " * 60, "delay_ms": 10}]},
        "fail": {"type": "scripted", "script": [{"text": "So far ", "error": "no more", "fail_after": 1}]},
        "read": {
            "type": "scripted",
            "script": [
                {"calls": [{"name": "read_file", "arguments": {"path": "note.txt", "offset": 2**60 + 1}}]},
                "Read.",
            ],
        },
    },
    "tools": {"read_file": {"require_approval": True}},
    "agents": {
        "assistant": agent("talk"),
        "hanging": agent("hang"),
        "hasty": agent("hang", streaming={"disconnect_grace": "0s"}),
        "slow": agent("slow"),
        "failing": agent("fail"),
        "reader": agent("read", tools=["read_file"]),
        "whole": agent("talk", reasoning={"enable_streaming": False}),
        "pieces": agent("talk", streaming={"chunk_size": 4}),
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(tmp_path_factory.mktemp("grpc"), SETTINGS)
    await server.start()
    await server.wait_for_grpc()
    yield server
    await server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(server: HectorServer) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        yield A2AServiceStub(channel)  # type: ignore[no-untyped-call]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rest(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    """The same server over HTTP, as alice."""
    headers = {"Authorization": f"Bearer {KEYS['alice']}"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False) as client:
        yield client
