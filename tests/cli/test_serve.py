"""How the server takes new connections, and what it does for developers."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import uvloop

from app.cli.listening import copies_of
from tests.fixtures.server import HectorServer


class Counting(asyncio.Protocol):
    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).made += 1
        transport.abort()  # type: ignore[attr-defined]


async def _taken_in_few_rounds(connections: int) -> int:
    """Of so many clients that connect at once, how many a loop with nothing else to do takes in three rounds."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    servers = [await loop.create_server(Counting, sock=each) for each in copies_of(listener)]
    clients = [socket.create_connection(listener.getsockname()) for _ in range(connections)]
    Counting.made = 0
    for _ in range(3):
        await asyncio.sleep(0)
    taken = Counting.made
    for server in servers:
        server.close()
    for client in clients:
        client.close()
    return taken


def test_a_round_of_the_loop_takes_many_new_connections() -> None:
    # Else a server with long rounds, one that has much to do, lets new clients wait for a round each.
    assert uvloop.run(_taken_in_few_rounds(16)) == 16


async def test_a_server_for_development_answers_local_pages_and_logs_requests(tmp_path: Path) -> None:
    settings = {"llms": {"echo": {"type": "scripted"}}, "agents": {"assistant": {"llm": "echo"}}}
    server = HectorServer(tmp_path, settings, options=["--dev"])
    await server.start()
    page = {"Origin": "http://localhost:5173"}
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
        created = await client.post("/agents/assistant/sessions", headers=page)
    await server.close()
    assert created.headers["access-control-allow-origin"] == page["Origin"]
    assert any("POST /agents/assistant/sessions" in line for line in server.log)
