"""Long turns as tasks: a handle that outlives calls, connections and the server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from mcp import Client

from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_clients import Tasks, ask_task, begin_task, connected
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def finished(client: Client, task: str) -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        found = await ask_task(client, "tasks/get", task)
        return found if found["status"] not in ("working", "input_required") else None

    found = await eventually(over)
    assert found is not None
    return found


async def test_a_short_turn_is_no_task(server: HectorServer, upstream: Upstream) -> None:
    async with connected(server.base_url, extensions=[Tasks()]) as client:
        result = await client.call_tool("assistant", {"message": "Hello"})

    assert result.structured_content["status"] == "completed"


async def test_a_long_turn_becomes_a_task_that_nobody_has_to_wait_for(server: HectorServer, upstream: Upstream) -> None:
    upstream.answer(tokens=40, delay=0.03)
    async with connected(server.base_url, extensions=[Tasks()]) as client:
        task = await begin_task(client, "assistant", "Hello")
        early = await ask_task(client, "tasks/get", task)
    async with connected(server.base_url, extensions=[Tasks()]) as client:  # past the grace of a turn with readers
        found = await finished(client, task)

    assert (early["status"], early["ttlMs"]) == ("working", None)
    assert "t" in early["statusMessage"]
    assert found["status"] == "completed"
    assert found["result"]["content"][0]["text"] == "".join(f" t{n}" for n in range(40))
    assert found["result"]["structuredContent"]["status"] == "completed"


async def test_a_call_that_is_cancelled_before_it_is_a_task_stops_the_model(
    server: HectorServer, upstream: Upstream
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    async with connected(server.base_url, extensions=[Tasks()]) as client:
        call = asyncio.create_task(begin_task(client, "assistant", "Hello"))
        await upstream.wait_for(requests=1)
        call.cancel()
        await upstream.wait_for(aborts=1)


async def test_a_cancelled_task_stops_the_model(
    server: HectorServer, upstream: Upstream, rest: httpx.AsyncClient
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    async with connected(server.base_url, extensions=[Tasks()]) as client:
        task = await begin_task(client, "assistant", "Hello")
        await ask_task(client, "tasks/cancel", task)
        await upstream.wait_for(aborts=1)
        found = await finished(client, task)

    assert found["status"] == "cancelled"
    _, session_id, turn_id = task.split("/")
    assert (await Talk(rest, session_id).turn(turn_id))["status"] == "cancelled"


async def test_tasks_outlive_the_server(server: HectorServer, upstream: Upstream) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    async with connected(server.base_url, extensions=[Tasks()]) as client:
        cut = await begin_task(client, "assistant", "Hello")
        waits = await begin_task(client, "painter", "Go")
    await server.kill()
    await server.start()
    async with connected(server.base_url, extensions=[Tasks()]) as client:
        found = await ask_task(client, "tasks/get", cut)
        waiting = await ask_task(client, "tasks/get", waits)

    assert found["status"] == "completed"  # the call is over, and its result is an error
    assert found["result"]["isError"]
    assert found["result"]["structuredContent"]["status"] == "interrupted"
    assert found["result"]["content"][0]["text"] == " t0 t1 t2"
    assert waiting["status"] == "working"  # a client without forms is not asked
    assert "waits for input" in waiting["statusMessage"]


@pytest.mark.parametrize("task", ["x", "assistant/s", "assistant/sess_x/turn_x", "nobody/s/t", "//", "a/b/c/d"])
async def test_what_is_no_task_is_unknown(server: HectorServer, task: str) -> None:
    async with connected(server.base_url, extensions=[Tasks()]) as client:
        with pytest.raises(Exception, match="Task not found") as refused:
            await ask_task(client, "tasks/get", task)

    assert getattr(refused.value, "code", 0) == -32602
