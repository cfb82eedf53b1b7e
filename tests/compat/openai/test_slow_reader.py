"""A reader that does not read slows nothing, and gets everything once it reads: fewer frames, the whole text."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import httpx
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKENS = [f" {number:05d}" + "x" * 995 for number in range(3000)]
"""3 MB: far more than the sockets hold."""
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "go"}], "metadata": {"session_id": "slow-chat"}},
    "/v1/responses": {"input": "go", "conversation": "slow-responses"},
}


def delta_of(frame: dict[str, Any]) -> str:
    if "choices" in frame:
        return frame["choices"][0]["delta"].get("content") or ""
    return str(frame["delta"]) if frame["type"] == "response.output_text.delta" else ""


@pytest.mark.parametrize("path", BODIES)
async def test_a_reader_that_sleeps_does_not_slow_the_turn(
    server: HectorServer, http: httpx.AsyncClient, upstream: Upstream, path: str
) -> None:
    session_id = "slow-chat" if "chat" in path else "slow-responses"
    await http.post("/agents/assistant/sessions", json={"session_id": session_id})
    upstream.answer(tokens=TOKENS)
    body = json.dumps({"model": "assistant", "stream": True, **BODIES[path]}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", server.port))
    await loop.sock_sendall(connection, head.encode() + body)

    async def is_over() -> bool:
        detail = (await http.get(f"/agents/assistant/sessions/{session_id}")).json()
        return bool(detail["message_count"] == 2 and detail["turn"] is None)

    assert await eventually(is_over)  # nobody has read a byte of it
    reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 26)
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    frames = _frames(received)
    assert "".join([delta_of(frame) for frame in frames]) == "".join(TOKENS)
    assert len(frames) < len(TOKENS)


def _frames(received: bytes) -> list[dict[str, Any]]:
    _, _, rest = received.partition(b"\r\n\r\n")
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    lines = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]
