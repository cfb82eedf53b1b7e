"""When the server stops: calls are answered, connections end, and nothing waits for them."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.compat.mcp_server.test_calls import both
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_clients import CreatedTask, Tasks, Told, connected
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")


@both
async def test_a_call_is_told_that_the_server_stops(server: HectorServer, upstream: Upstream, mode: str) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    told = Told()

    async def has_text() -> bool:
        return " t2" in "".join(told.messages)

    async with connected(server.base_url, mode=mode) as client:
        call = asyncio.create_task(client.call_tool("assistant", {"message": "Hello"}, progress_callback=told))
        await eventually(has_text)
        begun = time.monotonic()
        server.ask_to_stop()
        result = await call
        code = await server.ended()

    assert result.structured_content["status"] == "running"
    assert result.structured_content["error"]["reason"] == "shutting_down"
    assert code == 0
    assert time.monotonic() - begun < 4


async def test_a_call_that_may_be_a_task_becomes_one(server: HectorServer, upstream: Upstream) -> None:
    upstream.answer(tokens=3, delay=0.02, hang="after_tokens")
    async with connected(server.base_url, extensions=[Tasks()]) as client:
        call = asyncio.create_task(client.session.call_tool("assistant", {"message": "Hello"}, allow_claimed=True))
        await upstream.wait_for(requests=1)
        server.ask_to_stop()
        created = await call
        await server.ended()

    assert isinstance(created, CreatedTask)
