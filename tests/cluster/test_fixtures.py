"""What tests of several servers stand on: a balancer that spreads and passes over the dead, servers that come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from tests.fixtures.balancer import Balancer
from tests.fixtures.cluster import Cluster

SETTINGS = {"llms": {"echo": {"type": "scripted"}}, "agents": {"assistant": {"llm": "echo"}}}


@asynccontextmanager
async def naming(name: str) -> AsyncIterator[int]:
    """A server that says its name to every connection, and answers each line by it; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{name}\n".encode())
        while line := await reader.readline():
            writer.write(name.encode() + b" heard " + line)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Caller:
    """A client that keeps its connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.reached = ""
        """The name of the server that it came to."""

    async def read(self) -> str:
        return (await self._reader.readline()).decode().strip()

    async def ask(self, line: str) -> str:
        self._writer.write(f"{line}\n".encode())
        return await self.read()

    async def leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Callers(AsyncExitStack):
    """Clients of a balancer, until the end of the test."""

    async def call(self, balancer: Balancer) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", int(balancer.base_url.rpartition(":")[2])))
        self.push_async_callback(caller.leave)
        caller.reached = await caller.read()
        return caller


async def test_connections_go_to_the_member_with_the_fewest() -> None:
    async with (
        naming("a") as a,
        naming("b") as b,
        naming("c") as c,
        Balancer({"a": a, "b": b, "c": c}) as balancer,
        Callers() as callers,
    ):
        six = [await callers.call(balancer) for _ in range(6)]
        assert sorted(caller.reached for caller in six) == ["a", "a", "b", "b", "c", "c"]
        assert [await caller.ask("hi") for caller in six] == [f"{caller.reached} heard hi" for caller in six]
        await next(caller for caller in six if caller.reached == "b").leave()
        while balancer.connections["b"] == 2:
            await asyncio.sleep(0)
        assert (await callers.call(balancer)).reached == "b"


async def test_a_member_that_refuses_or_is_left_out_gets_nothing() -> None:
    async with naming("b") as b:
        pass
    async with (
        naming("a") as a,
        naming("c") as c,
        Balancer({"a": a, "b": b, "c": c}) as balancer,
        Callers() as callers,
    ):
        balancer.leave_out("c")
        assert [(await callers.call(balancer)).reached for _ in range(3)] == ["a"] * 3
        balancer.take_in("c")
        assert (await callers.call(balancer)).reached == "c"


async def test_a_server_is_killed_stopped_and_started_again_on_its_port(tmp_path: Path, postgres_url: str) -> None:
    async with (
        Cluster(tmp_path, SETTINGS, postgres_url, names=["a"]) as cluster,
        httpx.AsyncClient(base_url=cluster.base_url) as client,
    ):
        port = cluster["a"].port
        assert cluster.urls == [f"http://127.0.0.1:{port}"]
        assert (await client.get("/ready")).status_code == 200
        cluster.stop("a")
        cluster.cont("a")
        await cluster.kill("a")
        await cluster.restart("a")
        assert cluster["a"].port == port
        assert (await client.get("/ready")).status_code == 200
