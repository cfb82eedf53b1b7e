"""Responses with the official client: a response is a turn, its events are numbered by the log."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

BEGIN = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
END = ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"]
DELTA = "response.output_text.delta"


async def ask(client: openai.AsyncOpenAI, agent: str, given: Any, **more: Any) -> Any:
    return await client.responses.create(model=agent, input=given, **more)


async def events_of(stream: Any) -> list[Any]:
    return [event async for event in stream]


def text_of(events: list[Any]) -> str:
    return "".join([event.delta for event in events if event.type == DELTA])


async def test_a_response_has_text_usage_and_what_it_was_asked(client: openai.AsyncOpenAI) -> None:
    response = await ask(client, "echo", "Hello there", instructions="Be short.", metadata={"a": "b"})
    assert (response.status, response.output_text, response.model) == ("completed", "Hello there", "echo")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert (response.instructions, response.metadata) == ("Be short.", {"a": "b"})
    again = await client.responses.retrieve(response.id)
    assert again.model_dump() == response.model_dump()
    [item] = [item async for item in await client.responses.input_items.list(response.id)]
    assert item.content[0].text == "Hello there"  # type: ignore[index, union-attr]


async def test_a_stream_tells_every_step_and_counts_them(client: openai.AsyncOpenAI) -> None:
    events = await events_of(await ask(client, "echo", "a b c", stream=True))
    assert [event.type for event in events] == [*BEGIN, DELTA, DELTA, DELTA, *END]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert text_of(events) == "a b c"
    assert events[-1].response.output_text == "a b c"
    assert {event.item_id for event in events if event.type == DELTA} == {events[-1].response.output[0].id}


async def test_a_stream_goes_on_after_any_number(client: openai.AsyncOpenAI) -> None:
    events = await events_of(await ask(client, "planner", "Is it so?", stream=True))
    response_id = events[0].response.id
    for place, event in enumerate(events):
        rest = await client.responses.retrieve(response_id, stream=True, starting_after=event.sequence_number)
        found = await events_of(rest)
        assert [one.to_json() for one in found] == [one.to_json() for one in events[place + 1 :] or events[-1:]]


async def test_what_is_said_around_a_tool_are_two_items(client: openai.AsyncOpenAI) -> None:
    events = await events_of(await ask(client, "planner", "Is it so?", stream=True))
    done = [event for event in events if event.type == "response.output_text.done"]
    assert [(event.output_index, event.text) for event in done] == [(0, "Let me see."), (1, "It is so.")]
    items = events[-1].response.output
    assert [item.content[0].text for item in items] == ["Let me see.", "It is so."]
    assert [item.id for item in items] == [event.item_id for event in done]


async def test_the_next_response_goes_on_in_the_same_conversation(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    first = await ask(client, "assistant", "one")
    second = await ask(client, "assistant", "two", previous_response_id=first.id)
    assert second.conversation.id == first.conversation.id
    assert second.previous_response_id == first.id
    told = [message["content"] for message in upstream.requests[-1].json["messages"][1:]]
    assert told == ["one", " t0 t1 t2", "two"]


async def test_another_answer_after_an_older_response_is_a_fork(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    first = await ask(client, "assistant", "one")
    await ask(client, "assistant", "two", previous_response_id=first.id)
    other = await ask(client, "assistant", "three", previous_response_id=first.id)
    assert other.conversation.id != first.conversation.id
    told = [message["content"] for message in upstream.requests[-1].json["messages"][1:]]
    assert told == ["one", " t0 t1 t2", "three"]


async def test_a_history_as_input_begins_the_conversation(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    given = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "eins"}]},
        {"type": "reasoning", "summary": []},
        {"role": "user", "content": "two"},
    ]
    await ask(client, "assistant", given, instructions="Be short.")
    told = upstream.requests[-1].json["messages"]
    assert told[0]["content"].endswith("Be short.\n\nBe kind.")
    assert [message["content"] for message in told[1:]] == ["one", "eins", "two"]


async def test_a_response_that_is_not_stored_leaves_no_session(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    response = await ask(client, "hidden-twin", "x", store=False)
    assert response.store is False
    assert (await http.get("/agents/hidden-twin/sessions")).json()["sessions"] == []


async def test_a_response_in_the_background_is_found_running_and_cancelled(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    begun = await ask(client, "assistant", "x", background=True)
    assert begun.status in ("in_progress", "queued")

    async def said() -> bool:
        return (await client.responses.retrieve(begun.id)).output_text == " t0 t1 t2"

    assert await eventually(said)
    cancelled = await client.responses.cancel(begun.id)
    await upstream.wait_for(aborts=1)
    assert (cancelled.status, cancelled.output_text) == ("cancelled", " t0 t1 t2")
    last = (await events_of(await client.responses.retrieve(begun.id, stream=True)))[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")


async def test_a_background_stream_outlives_its_reader(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.answer(tokens=8, delay=0.1)
    stream = await ask(client, "impatient", "x", background=True, stream=True)
    events = []
    async for event in stream:
        events.append(event)
        if event.type == DELTA:
            break
    await stream.close()
    response_id, number = events[0].response.id, events[-1].sequence_number
    rest = await events_of(await client.responses.retrieve(response_id, stream=True, starting_after=number))
    assert text_of([*events, *rest]) == " t0 t1 t2 t3 t4 t5 t6 t7" == rest[-1].response.output_text
    assert upstream.aborts == []


async def test_a_reader_that_leaves_ends_a_response_that_is_not_in_the_background(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    stream = await ask(client, "impatient", "x", stream=True)
    async for event in stream:
        if event.type == DELTA:
            break
    await stream.close()
    await upstream.wait_for(aborts=1)


async def test_a_message_behind_a_running_turn_is_queued(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    first = await ask(client, "assistant", "one", background=True)
    second = await ask(client, "assistant", "two", previous_response_id=first.id, background=True)
    assert second.status == "queued"
    stream = await client.responses.retrieve(second.id, stream=True)
    await client.responses.cancel(first.id)
    types = [event.type for event in await events_of(stream)]
    assert types[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert types[-1] == "response.completed"


async def test_a_response_alone_in_its_conversation_can_be_deleted(client: openai.AsyncOpenAI) -> None:
    first = await ask(client, "echo", "one")
    second = await ask(client, "echo", "two", previous_response_id=first.id)
    with pytest.raises(openai.ConflictError):
        await client.responses.delete(second.id)
    alone = await ask(client, "echo", "three")
    await client.responses.delete(alone.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(alone.id)


async def test_a_schema_makes_the_answer_json(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    upstream.answer(tokens=['{"n": 5}'])
    form: Any = {"format": {"type": "json_schema", "name": "count", "schema": schema, "strict": True}}
    response = await ask(client, "assistant", "Count", text=form)
    assert response.output_text == '{"n": 5}'
    assert response.text.format.name == "count"


async def test_a_failure_is_a_response_with_what_was_said(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    failed = await ask(client, "broken", "x")
    assert (failed.status, failed.output_text, failed.error.code) == ("failed", "One two", "server_error")
    events = await events_of(await ask(client, "broken", "x", stream=True))
    assert (events[-1].type, events[-1].response.status) == ("response.failed", "failed")
    upstream.answer(status=500)
    with pytest.raises(openai.InternalServerError):
        await ask(client, "assistant", "x")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": "x"}, 400, "model"),
        ({"model": "echo"}, 400, "input"),
        ({"model": "nobody", "input": "x"}, 404, "model"),
        ({"model": "echo", "input": "x", "previous_response_id": "resp_x"}, 404, None),
        ({"model": "echo", "input": "x", "conversation": "none"}, 404, None),
        ({"model": "echo", "input": "x", "conversation": "a", "previous_response_id": "b"}, 400, None),
        ({"model": "echo", "input": "x", "background": True, "store": False}, 400, "background"),
        ({"model": "echo", "input": [{"role": "user", "content": [{"type": "input_image"}]}]}, 400, None),
    ],
)
async def test_a_refusal_names_the_field(
    http: httpx.AsyncClient, body: dict[str, Any], status: int, param: str | None
) -> None:
    refused = await http.post("/v1/responses", json=body)
    assert refused.status_code == status, refused.text
    assert param is None or refused.json()["error"]["param"] == param
