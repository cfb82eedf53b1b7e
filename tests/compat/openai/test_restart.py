"""Responses outlive the server: after a restart they are read on from the last event that a client had."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

DELTA = "response.output_text.delta"


async def begin(client: openai.AsyncOpenAI, agent: str, tokens: int) -> list[Any]:
    """The events of a response in the background, up to a number of deltas."""
    stream = await client.responses.create(model=agent, input="x", background=True, stream=True)
    events: list[Any] = []
    async for event in stream:
        events.append(event)
        if [one.type for one in events].count(DELTA) == tokens:
            break
    await stream.close()
    return events


async def read_on(client: openai.AsyncOpenAI, events: list[Any]) -> list[Any]:
    stream = await client.responses.retrieve(
        events[0].response.id, stream=True, starting_after=events[-1].sequence_number
    )
    return [event async for event in stream]


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


async def test_a_response_that_was_complete_is_read_on_exactly(
    client: openai.AsyncOpenAI, server: HectorServer
) -> None:
    stream = await client.responses.create(model="echo", input="a b c d", stream=True)
    events: list[Any] = [event async for event in stream]
    await server.kill()
    await server.start()
    rest = await read_on(client, events[:6])
    assert [one.to_json() for one in rest] == [one.to_json() for one in events[6:]]


async def test_a_response_that_is_resumed_is_said_again_in_an_item_of_its_own(
    client: openai.AsyncOpenAI, server: HectorServer, upstream: Upstream
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    events = await begin(client, "lasting", 3)
    await server.kill()
    upstream.answer(tokens=5, delay=0.01)
    await server.start()
    rest = await read_on(client, events)
    types = [event.type for event in rest]
    assert types[:2] == ["response.output_item.done", "response.output_item.added"]
    assert rest[0].item.status == "incomplete"
    assert (rest[0].output_index, rest[1].output_index) == (0, 1)
    assert "".join([event.delta for event in rest if event.type == DELTA]) == " t0 t1 t2 t3 t4"
    assert (types[-1], rest[-1].response.output_text) == ("response.completed", " t0 t1 t2 t3 t4")
    assert numbers([*events, *rest]) == sorted(set(numbers([*events, *rest])))


async def test_a_response_that_was_cut_ends_with_the_text_that_was_kept(
    client: openai.AsyncOpenAI, server: HectorServer, upstream: Upstream
) -> None:
    upstream.answer(tokens=40, delay=0.02)
    events = await begin(client, "assistant", 30)  # the first ones are stored by now
    await server.kill()
    await server.start()
    rest = await read_on(client, events)
    final = rest[-1].response
    said = "".join([event.delta for event in [*events, *rest] if event.type == DELTA])
    assert (rest[-1].type, final.status, final.error.code) == ("response.failed", "failed", "server_error")
    assert final.output_text
    assert said.startswith(final.output_text) or final.output_text == said
    done = next(event for event in rest if event.type == "response.output_text.done")
    assert done.text == final.output_text
    assert numbers([*events, *rest]) == sorted(set(numbers([*events, *rest])))


async def test_at_a_shutdown_the_reader_is_told_to_come_back_and_the_next_server_goes_on(
    client: openai.AsyncOpenAI, server: HectorServer, upstream: Upstream
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    stream = await client.responses.create(model="lasting", input="x", background=True, stream=True)
    events: list[Any] = []
    async for event in stream:
        events.append(event)
        if [one.type for one in events].count(DELTA) == 3:
            server.ask_to_stop()
    assert (events[-1].type, events[-1].code) == ("error", "shutting_down")
    await server.ended()
    await server.start()
    rest = await read_on(client, events)
    assert rest[-1].response.output_text == " t0 t1 t2"
