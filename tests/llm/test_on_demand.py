"""A model that is loaded by the first request, for all who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio

from app.llm.base import LLMRequest, LLMStopped
from app.llm.on_demand import LoadedOnDemand
from app.llm.openai_compatible import OpenAISettings
from app.llm.stream import OpenAIStream
from tests.fixtures.eventually import eventually
from tests.fixtures.upstream import Upstream

HELLO = LLMRequest([b'{"role":"user","content":"hello"}'])


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture
async def llm(upstream: Upstream) -> AsyncIterator[LoadedOnDemand]:
    made = LoadedOnDemand("m", OpenAISettings(model="m", base_url=upstream.base_url, max_retries=0))
    yield made
    await made.close()


async def stopped(stream: OpenAIStream, reading: asyncio.Task[object]) -> None:
    stream.close()
    async with asyncio.timeout(1):
        with pytest.raises(LLMStopped):
            await reading
        await stream.closed()


@pytest.mark.parametrize("hang", ["before_headers", "after_headers"])
async def test_a_stop_does_not_abort_a_load_that_others_wait_for(
    upstream: Upstream, llm: LoadedOnDemand, hang: Literal["before_headers", "after_headers"]
) -> None:
    upstream.answer(hang=hang)
    first = llm.stream(HELLO)
    reading = asyncio.create_task(first.read())
    await upstream.wait_for(requests=1)
    upstream.answer(first_delay=0.5, tokens=2, delay=0.2)
    second = llm.stream(HELLO)
    waiting = asyncio.create_task(second.read())
    await upstream.wait_for(requests=2)

    await stopped(first, reading)
    assert upstream.active == 2

    assert await waiting
    assert upstream.aborts == []
    await upstream.wait_for(aborts=1)  # it is loaded: nothing is held any more
    while await second.read():
        pass


@pytest.mark.parametrize("hang", ["before_headers", "after_headers"])
async def test_a_stop_of_the_last_who_waits_closes_all(
    upstream: Upstream, llm: LoadedOnDemand, hang: Literal["before_headers", "after_headers"]
) -> None:
    streams = []
    for number in (1, 2):
        upstream.answer(hang=hang)
        stream = llm.stream(HELLO)
        streams.append((stream, asyncio.create_task(stream.read())))
        await upstream.wait_for(requests=number)

    await stopped(*streams[0])
    await stopped(*streams[1])

    await upstream.wait_for(aborts=2)


async def test_a_model_that_has_spoken_is_not_held(upstream: Upstream, llm: LoadedOnDemand) -> None:
    upstream.answer(tokens=1)
    spoken = llm.stream(HELLO)
    while await spoken.read():
        pass
    streams = []
    for number in (2, 3):
        upstream.answer(hang="before_headers")
        stream = llm.stream(HELLO)
        streams.append((stream, asyncio.create_task(stream.read())))
        await upstream.wait_for(requests=number)

    await stopped(*streams[0])

    await upstream.wait_for(aborts=1)
    assert not streams[1][1].done()
    await stopped(*streams[1])


async def test_closing_the_model_ends_what_it_holds(upstream: Upstream, llm: LoadedOnDemand) -> None:
    for number in (1, 2):
        upstream.answer(hang="after_headers")
        stream = llm.stream(HELLO)
        reading = asyncio.create_task(stream.read())
        await upstream.wait_for(requests=number)
        if number == 1:
            first = (stream, reading)
    await stopped(*first)

    await llm.close()

    with pytest.raises(LLMStopped):
        await reading

    async def is_quiet() -> bool:
        return upstream.active == 0

    await eventually(is_quiet)
