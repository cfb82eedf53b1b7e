"""A real server with models that say what they were told to, and transports that break when they are told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from hector_client import Agent, Client, TimeLimits, sync
from tests.fixtures.server import HectorServer

WORDS = " ".join([f"w{number}" for number in range(40)])
"""What `slow` says, for 0.8 seconds."""

SETTINGS: dict[str, Any] = {
    "server": {"port": 0, "shutdown_grace": "200ms"},
    "llms": {
        "echo": {"type": "scripted"},
        "slow": {"type": "scripted", "script": [{"text": WORDS, "delay_ms": 20}]},
        "failing": {"type": "scripted", "script": [{"text": "so far so", "fail_after": 2, "error": "no credit"}]},
        "hanging": {"type": "scripted", "script": [{"text": "I am", "hang": True}]},
        "careful": {
            "type": "scripted",
            "script": [
                {
                    "text": "First the file.",
                    "calls": [{"name": "write_file", "arguments": {"path": "a", "content": "x"}}],
                    "when": "^Write",
                },
                {"calls": [{"name": "ask_user", "arguments": {"question": "Why?"}}], "when": "^Ask"},
                {"text": "Well."},
            ],
        },
    },
    "agents": {name: {"llm": name} for name in ("echo", "slow", "failing", "hanging")}
    | {"careful": {"llm": "careful", "tools": ["write_file", "ask_user"], "permissions": {"ask": ["write_file"]}}}
    | {"storing": {"llm": "echo", "memory": {"longterm": {"storage_scope": "conversational"}}}},
    "embedders": {"default": {"type": "none"}},
    "document_stores": {"papers": {"paths": ["papers"]}},
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("client")), SETTINGS)
    (server.folder / "papers").mkdir()
    (server.folder / "papers" / "birds.md").write_text("# Birds\n\n## Parrots\nThe parrot sleeps at night.\n")
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: HectorServer) -> AsyncIterator[Client]:
    async with Client(server.base_url) as client:
        yield client


@pytest.fixture
def sync_client(server: HectorServer) -> Iterator[sync.Client]:
    with sync.Client(server.base_url) as client:
        yield client


@pytest.fixture
def echo(client: Client) -> Agent:
    return client.agent("echo")


LIMITS = TimeLimits(connect=5, silence=10, patience=20)


class Breaks:
    """Which answers break: `whole` counts answers to lose as a whole, `streams` streams to cut after their first piece
    of text."""

    def __init__(self, *, whole: int = 0, streams: int = 0) -> None:
        self.whole = whole
        self.streams = streams
        self.requests: list[str] = []

    def note(self, request: httpx2.Request) -> None:
        self.requests.append(f"{request.method} {request.url.path.rpartition('/')[2]}")

    def takes_whole(self) -> bool:
        self.whole -= 1
        return self.whole >= 0

    def takes_stream(self, response: httpx2.Response) -> bool:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            return False
        self.streams -= 1
        return self.streams >= 0


LOST = httpx2.ReadError("cut")


class BreakingTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, breaks: Breaks) -> None:
        super().__init__()
        self._breaks = breaks

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._breaks.note(request)
        response = await super().handle_async_request(request)
        if self._breaks.takes_whole():
            await response.aread()  # the server has done it; nothing of that arrives
            raise LOST
        if self._breaks.takes_stream(response):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            return httpx2.Response(200, headers=response.headers, stream=_Cut(response.stream))
        return response


class _Cut(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for received in self._stream:
            yield received
            if b'"chunk":"w' in received.replace(b" ", b""):
                raise LOST

    async def aclose(self) -> None:
        await self._stream.aclose()


class SyncBreakingTransport(httpx2.HTTPTransport):
    def __init__(self, breaks: Breaks) -> None:
        super().__init__()
        self._breaks = breaks

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._breaks.note(request)
        response = super().handle_request(request)
        if self._breaks.takes_whole():
            response.read()
            raise LOST
        if self._breaks.takes_stream(response):
            assert isinstance(response.stream, httpx2.SyncByteStream)
            return httpx2.Response(200, headers=response.headers, stream=_SyncCut(response.stream))
        return response


class _SyncCut(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        for received in self._stream:
            yield received
            if b'"chunk":"w' in received.replace(b" ", b""):
                raise LOST

    def close(self) -> None:
        self._stream.close()
