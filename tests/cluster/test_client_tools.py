"""Tools of the caller through several servers: calls asked at one, results given at another, whoever owns it all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
import pytest_asyncio

from tests.cluster.test_sessions import settings
from tests.compat.openai.test_tools import FUNCTIONS, PARAMETERS, QUESTION, TOOLS, outputs_for, results_for
from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import Databases
from tests.fixtures.sse import open_stream
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    provider: Upstream, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    async with Cluster(Path(tmp_path_factory.mktemp("tools")), settings(provider), databases.create()) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def clients(cluster: Cluster) -> AsyncIterator[list[openai.AsyncOpenAI]]:
    """One for each server."""
    async with AsyncExitStack() as stack:
        made = []
        for server in cluster.servers.values():
            await server.be_there()
            http = httpx2.AsyncClient(timeout=20, trust_env=False)
            client = openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key="k", max_retries=0, http_client=http)
            made.append(await stack.enter_async_context(client))
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def owned(cluster: Cluster, clients: list[openai.AsyncOpenAI]) -> AsyncIterator[str]:
    """A session that stays with the first server, as long as somebody reads it there."""
    async with httpx.AsyncClient(base_url=cluster.urls[0], trust_env=False, timeout=30) as client:
        made = (await client.post("/agents/assistant/sessions")).json()["session_id"]
        async with open_stream(client, "GET", f"/agents/assistant/sessions/{made}/messages/stream"):
            yield made


def asks_for_weather(upstream: Upstream) -> None:
    upstream.answer(tokens=["Let me ask."], calls=[("weather", {"city": "Rome"})], finish="tool_calls")


async def ask(client: openai.AsyncOpenAI, messages: list[Any], **more: Any) -> Any:
    return await client.chat.completions.create(model="assistant", messages=messages, tools=TOOLS, **more)


def was_told(upstream: Upstream) -> None:
    """The model knew the caller's tool at both steps, and its result at the second."""
    assert [request.json["tools"][0]["function"]["parameters"] for request in upstream.requests] == [PARAMETERS] * 2
    assert "30 degrees" in upstream.requests[-1].json["messages"][-1]["content"]


async def test_a_session_of_another_server_is_lent_tools(
    clients: list[openai.AsyncOpenAI], upstream: Upstream, owned: str
) -> None:
    bound: Any = {"metadata": {"session_id": owned}}
    asks_for_weather(upstream)
    first = await ask(clients[1], [QUESTION], **bound)
    [choice] = first.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me ask.")
    assert first.usage.total_tokens > 0
    upstream.answer(tokens=["It is", " warm."])
    second = await ask(clients[2], [QUESTION, *results_for(choice.message)], **bound)
    assert (second.choices[0].finish_reason, second.choices[0].message.content) == ("stop", "It is warm.")
    assert second.usage.total_tokens > 0
    was_told(upstream)


async def test_a_stream_goes_on_at_a_third_server(
    clients: list[openai.AsyncOpenAI], upstream: Upstream, owned: str
) -> None:
    bound: Any = {"metadata": {"session_id": owned}}
    asks_for_weather(upstream)
    first = await ask(clients[2], [QUESTION], **bound)
    upstream.answer(tokens=["It is", " warm."])
    stream = await ask(clients[1], [QUESTION, *results_for(first.choices[0].message)], stream=True, **bound)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "It is warm."
    was_told(upstream)


async def test_results_of_a_chat_without_a_session_reach_the_server_that_has_it(
    clients: list[openai.AsyncOpenAI], upstream: Upstream
) -> None:
    asks_for_weather(upstream)
    first = await ask(clients[0], [QUESTION])
    upstream.answer(tokens=["It is", " warm."])
    stream = await ask(clients[1], [QUESTION, *results_for(first.choices[0].message)], stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "It is warm."
    was_told(upstream)
    with pytest.raises(openai.BadRequestError, match="no call waits"):
        await ask(clients[2], [QUESTION, *results_for(first.choices[0].message)])


async def test_a_response_goes_on_at_another_server_than_the_owner(
    clients: list[openai.AsyncOpenAI], upstream: Upstream, owned: str
) -> None:
    asks_for_weather(upstream)
    said: Any = {"model": "assistant", "tools": FUNCTIONS}
    first = await clients[1].responses.create(input="Is it warm?", conversation=owned, **said)
    assert [item.type for item in first.output] == ["message", "function_call"]
    upstream.answer(tokens=["It is", " warm."])
    second = await clients[2].responses.create(input=outputs_for(first), previous_response_id=first.id, **said)
    assert (second.status, second.output_text) == ("completed", "It is warm.")
    was_told(upstream)


async def test_results_come_to_a_server_that_took_the_session_over(
    cluster: Cluster, clients: list[openai.AsyncOpenAI], upstream: Upstream
) -> None:
    bound: Any = {"metadata": {"session_id": "left-alone"}}
    asks_for_weather(upstream)
    first = await ask(clients[0], [QUESTION], **bound)
    await cluster.kill("a")
    upstream.answer(tokens=["It is", " warm."])
    second = await ask(clients[1], [QUESTION, *results_for(first.choices[0].message)], **bound)
    assert (second.choices[0].finish_reason, second.choices[0].message.content) == ("stop", "It is warm.")
    was_told(upstream)
