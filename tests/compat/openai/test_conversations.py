"""Conversations and embeddings with the official client."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

ITEMS: Any = [
    {"type": "message", "role": "user", "content": "one"},
    {"type": "message", "role": "assistant", "content": "eins"},
]


def text_of(item: Any) -> str:
    text: str = item.content[0].text
    return text


async def test_a_conversation_is_a_session(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    made = await client.conversations.create(items=ITEMS, metadata={"agent": "echo"})
    response = await client.responses.create(model="echo", input="two", conversation=made.id)
    assert response.conversation is not None
    assert (response.output_text, response.conversation.id) == ("two", made.id)
    page = (await http.get(f"/agents/echo/sessions/{made.id}/messages")).json()["messages"]
    assert [message["content"] for message in page] == ["one", "eins", "two", "two"]


async def test_a_conversation_is_read_changed_and_deleted(client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(metadata={"agent": "echo"})
    assert (await client.conversations.update(made.id, metadata={"a": "b"})).metadata == {"a": "b"}
    assert (await client.conversations.retrieve(made.id)).metadata == {"a": "b"}
    assert (await client.conversations.delete(made.id)).deleted
    for ask in (client.conversations.retrieve, client.conversations.delete):
        with pytest.raises(openai.NotFoundError):
            await ask(made.id)


@pytest.mark.parametrize(
    ("order", "expected"), [("asc", ["one", "eins", "a", "b"]), ("desc", ["b", "a", "eins", "one"])]
)
async def test_items_are_listed_page_by_page(client: openai.AsyncOpenAI, order: Any, expected: list[str]) -> None:
    made = await client.conversations.create(items=ITEMS, metadata={"agent": "echo"})
    added = await client.conversations.items.create(
        made.id, items=[{"type": "message", "role": "user", "content": text} for text in ("a", "b")]
    )
    assert [text_of(item) for item in added.data] == ["a", "b"]
    found = [item async for item in client.conversations.items.list(made.id, order=order, limit=3)]
    assert [text_of(item) for item in found] == expected
    one = await client.conversations.items.retrieve(found[0].id or "", conversation_id=made.id)
    assert text_of(one) == expected[0]
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.list(made.id, order=order, after="msg_none")


async def test_a_conversation_keeps_its_agent(client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(metadata={"agent": "echo"})
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="planner", input="x", conversation=made.id)
    assert refused.value.param == "model"


async def test_embeddings_come_from_the_embedder_in_both_forms(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    body = {"model": "default", "input": ["A dog runs.", "A puppy is running.", "Tax law"]}
    plain = (await http.post("/v1/embeddings", json=body)).json()
    found = await client.embeddings.create(**body)  # type: ignore[arg-type]  # asks for base64
    vectors = [one.embedding for one in found.data]
    assert [one["embedding"] for one in plain["data"]] == vectors
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert near > far
    assert found.usage.prompt_tokens > 0
    for wrong in ({"model": "nobody", "input": "x"}, {"model": "default", "input": [[1, 2]]}):
        assert (await http.post("/v1/embeddings", json=wrong)).status_code in (400, 404)


CALL: Any = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Rome"}'}
OUTCOME: Any = {"type": "function_call_output", "call_id": "c1", "output": "warm"}


async def test_calls_of_the_client_are_kept_with_their_outcomes_and_shown_to_the_model(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    made = await client.conversations.create(metadata={"agent": "assistant"})
    await client.conversations.items.create(made.id, items=[*ITEMS, CALL, OUTCOME])
    listed = [item async for item in client.conversations.items.list(made.id, order="asc")]
    assert [item.type for item in listed] == ["message"] * len(ITEMS) + ["function_call", "function_call_output"]
    assert listed[-2].to_dict().items() >= CALL.items()
    assert listed[-1].to_dict().items() >= OUTCOME.items()
    newest = [item async for item in client.conversations.items.list(made.id, limit=1)]
    assert [item.id for item in newest] == [item.id for item in reversed(listed)]
    upstream.answer(tokens=["Yes."])
    await client.responses.create(model="assistant", input="Is it?", conversation=made.id)
    sent = upstream.requests[-1].json["messages"]
    assert [one["role"] for one in sent[-4:]] == ["assistant", "tool", "assistant", "user"]
    assert sent[-4]["tool_calls"][0]["function"]["name"] == "weather"


async def test_a_call_without_its_outcome_is_refused(client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(metadata={"agent": "assistant"})
    for items in ([CALL], [OUTCOME]):
        with pytest.raises(openai.BadRequestError, match="in one request"):
            await client.conversations.items.create(made.id, items=items)
