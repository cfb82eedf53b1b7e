"""Chat completions that are bound to a session: the same conversation goes on, an edited one is a fork."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")


def said(*texts: str) -> list[dict[str, Any]]:
    """A conversation, the user first, by turns."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


async def ask(client: openai.AsyncOpenAI, session_id: str, *texts: str, agent: str = "echo") -> tuple[str, str]:
    """The session that answered, and the answer."""
    raw = await client.chat.completions.with_raw_response.create(
        model=agent,
        messages=said(*texts),  # type: ignore[arg-type]
        extra_headers={"X-Hector-Session": session_id},
    )
    answer = raw.parse()
    return raw.headers["x-hector-session"], answer.choices[0].message.content or ""


async def history(http: httpx.AsyncClient, session_id: str, agent: str = "echo") -> list[str]:
    page = (await http.get(f"/agents/{agent}/sessions/{session_id}/messages")).json()
    return [message["content"] for message in page["messages"]]


async def test_the_same_conversation_and_a_new_message_are_one_turn(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    assert await ask(client, "same", "a") == ("same", "a")
    assert await ask(client, "same", "a", "a", "b") == ("same", "b")
    assert await ask(client, "same", "c") == ("same", "c")  # a client that leaves the history to the server
    assert await history(http, "same") == ["a", "a", "b", "b", "c", "c"]


async def test_metadata_names_the_session_as_well(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    await client.chat.completions.create(
        model="echo",
        messages=said("a"),  # type: ignore[arg-type]
        metadata={"session_id": "by-metadata"},
    )
    assert await history(http, "by-metadata") == ["a", "a"]


async def test_a_new_session_begins_with_the_history(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    await ask(client, "seeded", "a", "b", "c")
    assert await history(http, "seeded") == ["a", "b", "c", "c"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["x", "a", "b"], ["x", "a", "b", "b"]),
        (["a", "x", "b"], ["a", "x", "b", "b"]),
        (["a", "a", "x"], ["a", "a", "x", "x"]),  # the last message was edited
        (["a", "a", "b"], ["a", "a", "b", "b"]),  # answered again
        (["a", "a", "b", "b", "more", "than it has", "c"], ["a", "a", "b", "b", "more", "than it has", "c", "c"]),
    ],
)
async def test_an_edited_history_is_a_fork(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient, given: list[str], expected: list[str]
) -> None:
    name = f"edited-{'-'.join(given)}".replace(" ", "_")
    await ask(client, name, "a")
    await ask(client, name, "a", "a", "b")
    forked, _ = await ask(client, name, *given)
    assert forked != name
    assert await history(http, forked) == expected
    assert await history(http, name) == ["a", "a", "b", "b"]
    detail = (await http.get(f"/agents/echo/sessions/{forked}")).json()
    assert detail["forked_from"] == name


async def test_an_answer_over_tools_counts_as_the_one_message_that_clients_have(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    _, answer = await ask(client, "planned", "Is it so?", agent="planner")
    assert answer == "Let me see.\n\nIt is so."
    assert (await ask(client, "planned", "Is it so?", answer, "Sure?", agent="planner"))[0] == "planned"


async def test_an_answer_that_failed_may_be_missing(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    await ask(client, "failed", "a", agent="assistant")
    upstream.answer(status=500)
    with pytest.raises(openai.InternalServerError):
        await ask(client, "failed", "b", agent="assistant")
    assert (await ask(client, "failed", "c", agent="assistant"))[0] == "failed"


async def test_the_turn_of_a_bound_session_survives_its_reader_for_the_grace(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.answer(tokens=4, delay=0.05)
    messages: Any = said("x")
    stream = await client.chat.completions.create(
        model="assistant", messages=messages, metadata={"session_id": "left"}, stream=True
    )
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()

    async def whole() -> bool:
        return (await history(http, "left", "assistant"))[-1] == " t0 t1 t2 t3"

    assert await eventually(whole)
    assert upstream.aborts == []


async def test_a_client_that_was_cut_and_asks_again_gets_the_turn_that_runs(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient, upstream: Upstream
) -> None:
    await ask(client, "again", "a", agent="assistant")
    _, first = await history(http, "again", "assistant")
    upstream.answer(tokens=6, delay=0.05)
    messages: Any = said("a", first, "b")
    metadata = {"session_id": "again"}
    stream = await client.chat.completions.create(model="assistant", messages=messages, metadata=metadata, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    answer = await client.chat.completions.create(model="assistant", messages=messages, metadata=metadata)
    assert answer.choices[0].message.content == " t0 t1 t2 t3 t4 t5"
    assert len(upstream.requests) == 2


async def test_a_session_of_another_agent_is_refused(client: openai.AsyncOpenAI) -> None:
    await ask(client, "taken", "a")
    with pytest.raises(openai.ConflictError) as refused:
        await ask(client, "taken", "a", agent="planner")
    assert refused.value.code == "session_exists"


async def test_a_session_that_was_deleted_stays_dead(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    await ask(client, "dead", "a")
    await http.delete("/agents/echo/sessions/dead")
    with pytest.raises(openai.NotFoundError) as refused:
        await ask(client, "dead", "a")
    assert refused.value.code == "session_terminated"
