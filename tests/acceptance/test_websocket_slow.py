"""Sockets that read slowly, not at all, or are silent: each harms itself only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

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
TEXT, PING, PONG = 1, 9, 10


class RawSocket:
    """A socket by hand, whose system keeps little for it: what it does not read, the server has to keep, or not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.messages: list[dict[str, Any]] = []
        self._rest = b""

    def send(self, payload: bytes, *, opcode: int = TEXT) -> None:
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack(">H", size)
        self.writer.write(bytes((0x80 | opcode,)) + length + bytes(4) + payload)  # a mask of zeros changes nothing

    def ask(self, **frame: Any) -> None:
        self.send(json.dumps(frame).encode())

    async def read_slowly(self, hurry: asyncio.Event) -> None:
        """300 bytes a second until `hurry`, then as fast as they come; to the end of the turn."""
        while not self.messages or self.messages[-1].get("type") != "turn_finished":
            piece = await self.reader.read(65536 if hurry.is_set() else 300)
            assert piece, "the server has closed the socket"
            self._take(piece)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), 1)

    def _take(self, piece: bytes) -> None:
        """Keep the messages that are complete, and answer pings."""
        self._rest += piece
        while len(self._rest) > 1:
            opcode, size, start = self._rest[0] & 15, self._rest[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(self._rest[2:start], "big")
            payload = self._rest[start : start + size]
            if len(self._rest) < start + size:
                return
            self._rest = self._rest[start + size :]
            if opcode == TEXT:
                self.messages.append(json.loads(payload))
            elif opcode == PING:
                self.send(payload, opcode=PONG)


@asynccontextmanager
async def raw_socket(server: HectorServer, *, ahead: bytes = b"") -> AsyncIterator[RawSocket]:
    """`ahead`: requests before the handshake."""
    pipe = socket.socket()
    pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    pipe.connect(("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=pipe, limit=2048)
    writer.write(
        ahead + b"GET /agents/assistant/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    try:
        if not ahead:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        yield RawSocket(reader, writer)
    finally:
        writer.close()


def resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def test_a_slow_socket_neither_slows_the_turn_nor_loses_text_nor_costs_memory(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    """5 MB in 5000 deltas against 300 bytes a second, on a server that pings three times a second."""
    upstream.default = Reply(tokens=[f"{number:06d}" + "x" * 1018 for number in range(5000)])
    for _ in range(2):  # the second one finds the memory that the first one took
        alone = await (await Talk.begin(client)).say("Nobody else reads this")
    talk = await Talk.begin(client)
    hurry = asyncio.Event()
    async with raw_socket(server) as slow:
        slow.ask(type="attach", session_id=talk.session_id)
        reading = asyncio.create_task(slow.read_slowly(hurry))
        before = resident_mb(server.pid)
        said = await talk.say("Somebody reads this slowly")
        await asyncio.sleep(3)  # longer than a pong may take: the ping stands behind megabytes of text
        assert resident_mb(server.pid) - before < 30
        assert said["timings"]["total_ms"] < 10_000, "at its reader's pace it would take hours"
        hurry.set()
        await reading
        texts = [frame for frame in slow.messages if "type" not in frame]
    assert "".join([frame["chunk"] for frame in texts]) == alone["response"]
    assert len(texts) < 4000, "a reader that lags gets fewer and larger frames"
    assert [frame["seq"] for frame in texts] == sorted({frame["seq"] for frame in texts})


async def test_a_socket_that_reads_nothing_can_still_cancel(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["x" * 10_000] * 2000, delay=0.001, hang="after_tokens")
    async with raw_socket(server) as deaf:
        deaf.ask(message="Hello", session_id=talk.session_id)
        await upstream.wait_for(requests=1)
        await asyncio.sleep(1)
        deaf.ask(type="ping")
        deaf.ask(type="cancel", session_id=talk.session_id)
        await upstream.wait_for(aborts=1)


async def test_pings_of_a_client_that_reads_nothing_are_not_kept(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["x" * 10_000] * 500)
    before = 0.0
    async with raw_socket(server) as deaf:
        deaf.ask(message="Hello", session_id=talk.session_id)
        await upstream.wait_for(requests=1)
        await asyncio.sleep(0.5)
        before = resident_mb(server.pid)
        for _ in range(100):
            for _ in range(2000):
                deaf.send(b"x" * 125, opcode=PING)
            await deaf.writer.drain()
        await asyncio.sleep(1)  # until the server has read the rest
        assert resident_mb(server.pid) - before < 15, "26 MB of pongs were kept"


async def test_a_client_that_answers_no_ping_is_let_go(upstream: Upstream, server: HectorServer) -> None:
    async with raw_socket(server) as silent:
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
    async with raw_socket(server, ahead=ahead + body) as line:
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
    async with raw_socket(server) as deaf:
        deaf.ask(message="Hello", session_id=talk.session_id)
        await upstream.wait_for(requests=1)
        await eventually(lambda: _is_stored(talk))
        async with asyncio.timeout(10):
            assert await server.stop() == 0
    assert "Traceback" not in server.log_text


async def _is_stored(talk: Talk) -> bool:
    messages = await talk.messages()
    return bool(messages) and messages[-1]["status"] == "completed"
