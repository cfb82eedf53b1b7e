"""Sockets that read slowly, not at all, or are silent: each harms itself only."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from benchmarks.rig import resident_mb
from benchmarks.slow_clients import SocketClient
from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Reply, Upstream
from tests.fixtures.web_socket import web_socket

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "server": {"ping_interval": "300ms", "ping_timeout": "1500ms", "shutdown_grace": "300ms"},
    "agents": {"assistant": {"memory": {"working": {"strategy": "buffer_window"}}}},
}
PING = 9


class Socket(SocketClient):
    """Of an agent; it says nothing by itself."""

    def __init__(self, port: int) -> None:
        super().__init__(port, "/agents/assistant/stream", {}, lambda frame: "" if "type" in frame else frame["chunk"])


@asynccontextmanager
async def slow_socket(server: HectorServer, *, ahead: bytes = b"") -> AsyncIterator[Socket]:
    """`ahead`: requests before the handshake."""
    opened = Socket(server.port)
    await opened.open(ahead=ahead)
    try:
        yield opened
    finally:
        opened.close()


async def test_a_slow_socket_is_not_taken_for_a_dead_one_and_loses_nothing(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    """5 MB in 5000 deltas against 300 bytes a second, on a server that pings three times a second."""
    upstream.default = Reply(tokens=[f"{number:06d}" + "x" * 1018 for number in range(5000)])
    talk = await Talk.begin(client)
    hurry = asyncio.Event()
    async with slow_socket(server) as slow:
        slow.ask(type="attach", session_id=talk.session_id)
        reading = asyncio.create_task(slow.read(hurry, is_deaf=False))
        said = await talk.say("Somebody reads this slowly")
        await asyncio.sleep(3)  # longer than a pong may take: the ping stands behind megabytes of text
        assert said["timings"]["total_ms"] < 10_000, "at its reader's pace it would take hours"
        hurry.set()
        await reading
        texts = [frame for frame in map(json.loads, slow.messages) if "type" not in frame]
    assert slow.text() == said["response"]
    assert len(texts) < 4000, "a reader that lags gets fewer and larger frames"
    assert [frame["seq"] for frame in texts] == sorted({frame["seq"] for frame in texts})


async def test_a_socket_that_reads_nothing_can_still_cancel(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["x" * 10_000] * 2000, delay=0.001, hang="after_tokens")
    async with slow_socket(server) as deaf:
        deaf.ask(message="Hello", session_id=talk.session_id)
        await eventually(lambda: _has_said(upstream, 1000), within=20)  # 10 MB: more than the line takes
        deaf.ask(type="ping")
        deaf.ask(type="cancel", session_id=talk.session_id)
        await upstream.wait_for(aborts=1)


async def test_pings_of_a_client_that_reads_nothing_are_not_kept(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk, other = await Talk.begin(client), await Talk.begin(client)
    upstream.answer(tokens=["x" * 10_000] * 500)
    async with slow_socket(server) as deaf:
        deaf.ask(message="Hello", session_id=talk.session_id)
        await eventually(lambda: _is_stored(talk))
        before = resident_mb(server.pid)
        for _ in range(400):
            for _ in range(2000):
                deaf.send(b"x" * 125, opcode=PING)
            assert deaf.writer is not None
            await deaf.writer.drain()
        deaf.ask(message="The pings were read", session_id=other.session_id)
        await upstream.wait_for(requests=2)
        assert resident_mb(server.pid) - before < 50, "105 MB of pongs were kept"


async def test_a_client_that_answers_no_ping_is_let_go(upstream: Upstream, server: HectorServer) -> None:
    async with slow_socket(server) as silent:
        async with asyncio.timeout(5):
            rest = await silent.reader.read()
        assert rest[0] & 15 == PING
        assert struct.pack(">H", 1011) in rest


async def test_a_client_that_answers_pings_stays(upstream: Upstream, server: HectorServer) -> None:
    async with web_socket(server.base_url) as socket:
        await asyncio.sleep(2.2)  # longer than a ping and its pong may take
        assert await socket.say("Hello") == " t0 t1 t2"


async def test_a_handshake_behind_a_request_that_is_not_answered_yet_is_an_ordinary_request(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, delay=0.1)
    body = b'{"message": "Hello"}'
    ahead = f"POST {talk.path}/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with slow_socket(server, ahead=ahead + body) as line:
        async with asyncio.timeout(10):
            first = await line.reader.readuntil(b"\r\n\r\n")
            received = first
            while received.count(b"HTTP/1.1 ") < 2 or b"not_found" not in received:
                received += await line.reader.read(4096)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 404 " in received


async def test_a_server_stops_in_time_beside_a_socket_that_reads_nothing(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["x" * 10_000] * 500)
    async with slow_socket(server) as deaf:
        deaf.ask(message="Hello", session_id=talk.session_id)
        await upstream.wait_for(requests=1)
        await eventually(lambda: _is_stored(talk))
        async with asyncio.timeout(10):
            assert await server.stop() == 0
    assert "Traceback" not in server.log_text


async def _has_said(upstream: Upstream, tokens: int) -> bool:
    return bool(upstream.requests) and upstream.requests[-1].tokens_sent > tokens


async def _is_stored(talk: Talk) -> bool:
    messages = await talk.messages()
    return bool(messages) and messages[-1]["status"] == "completed"
