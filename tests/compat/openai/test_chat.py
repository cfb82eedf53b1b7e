"""Chat completions with the official client: answers, streams, usage, errors, and the end of what nobody reads."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

Messages = list[dict[str, Any]]


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def ask(client: openai.AsyncOpenAI, agent: str, messages: Any, **more: Any) -> Any:
    return await client.chat.completions.create(model=agent, messages=messages, **more)


async def texts_of(stream: Any) -> str:
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_the_models_are_the_agents_that_are_listed(client: openai.AsyncOpenAI) -> None:
    models = [model.id async for model in client.models.list()]
    assert sorted(models) == [
        "asker",
        "asker-only",
        "assistant",
        "broken",
        "echo",
        "impatient",
        "lasting",
        "planner",
    ]
    assert (await client.models.retrieve("echo")).id == "echo"
    with pytest.raises(openai.NotFoundError) as refused:
        await client.models.retrieve("hidden")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_an_answer_has_its_text_reason_and_usage(client: openai.AsyncOpenAI) -> None:
    answer = await ask(client, "echo", [user("Hello there")], user="u", seed=1, extra_body={"top_k": 3})
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Hello there", "stop")
    assert answer.object == "chat.completion"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


async def test_a_stream_begins_with_the_role_and_ends_with_reason_usage_and_done(http: httpx.AsyncClient) -> None:
    body = {"model": "echo", "messages": [user("a b")], "stream": True, "stream_options": {"include_usage": True}}
    text = (await http.post("/v1/chat/completions", json=body)).text
    frames = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert frames.pop() == "[DONE]"
    chunks = [httpx.Response(200, content=frame).json() for frame in frames]
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": " b"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, None, "stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] > 0


async def test_a_history_and_instructions_reach_the_model_and_leave_no_session(
    client: openai.AsyncOpenAI, upstream: Upstream, http: httpx.AsyncClient
) -> None:
    parts = [{"type": "text", "text": "How "}, {"type": "text", "text": "much?"}]
    history = [
        {"role": "system", "content": "Be short."},
        user("Is it dear?"),
        {"role": "assistant", "content": "Yes."},
        {"role": "developer", "content": "Be kind."},
        user(parts),
    ]
    await ask(client, "assistant", history)
    told = upstream.requests[-1].json["messages"]
    assert told[0]["role"] == "system"
    assert told[0]["content"].endswith("Be short.\n\nBe kind.")
    assert told[1:] == [user("Is it dear?"), {"role": "assistant", "content": "Yes."}, user("How much?")]
    assert (await http.get("/agents/assistant/sessions")).json()["sessions"] == []


async def test_calls_of_before_reach_the_model_with_their_outcomes(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    lost = {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    history = [
        user("Look"),
        {"role": "assistant", "content": None, "tool_calls": [call, lost]},
        {"role": "tool", "tool_call_id": "c1", "content": "a tree"},
        {"role": "tool", "tool_call_id": "c3", "content": "of no call"},
        user("And?"),
    ]
    await ask(client, "assistant", history)
    told = upstream.requests[-1].json["messages"][1:]
    assert [message["role"] for message in told[:3]] == ["user", "assistant", "tool"]
    assert told[-1] == user("And?")
    assert [one["id"] for one in told[1]["tool_calls"]] == ["c1"]
    assert told[2]["content"] == "a tree"


async def test_what_is_said_before_and_after_a_tool_is_one_answer_in_both_ways(client: openai.AsyncOpenAI) -> None:
    answer = await ask(client, "planner", [user("Is it so?")])
    stream = await ask(client, "planner", [user("Is it so?")], stream=True)
    assert answer.choices[0].message.content == "Let me see.\n\nIt is so."
    assert answer.choices[0].finish_reason == "stop"
    assert await texts_of(stream) == "Let me see.\n\nIt is so."


async def test_a_schema_makes_the_answer_json(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    upstream.answer(tokens=['{"n": 5}'])
    form = {"type": "json_schema", "json_schema": {"name": "count", "schema": schema}}
    answer = await ask(client, "assistant", [user("Count")], response_format=form)
    assert answer.choices[0].message.content == '{"n": 5}'
    assert upstream.requests[-1].json["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "nobody", "messages": [user("x")]}, 404, "model_not_found", "model"),
        ({"model": "echo", "messages": []}, 400, "invalid_request", "messages"),
        ({"model": "echo", "messages": [user("x"), {"role": "assistant", "content": "y"}]}, 400, None, "messages"),
        ({"model": "echo", "messages": [user([{"type": "image_url"}])]}, 400, None, "messages[0].content[0]"),
        ({"model": "echo", "messages": ["x"]}, 400, "invalid_request", "messages[0]"),
        ({"model": "echo", "messages": [{"role": "cat", "content": "x"}]}, 400, None, "messages[0].role"),
        ({"model": "echo", "messages": [user("x")], "n": 2}, 400, "invalid_request", "n"),
        ({"model": "echo", "messages": [user("x")], "metadata": {"session_id": 5}}, 400, None, "metadata.session_id"),
        ({"messages": [user("x")]}, 400, "invalid_request", "model"),
        ({"model": "broken", "messages": [user("x")]}, 502, "llm_error", None),
    ],
)
async def test_a_refusal_says_what_is_wrong_with_which_field(
    http: httpx.AsyncClient, body: dict[str, Any], status: int, code: str | None, param: str | None
) -> None:
    refused = await http.post("/v1/chat/completions", json=body)
    error = refused.json()["error"]
    assert refused.status_code == status
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == (code or "invalid_request")
    assert error["param"] == param
    assert refused.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("GET", "/v1/chat/nothing", 404)]
)
async def test_what_the_router_refuses_has_the_same_shape(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    refused = await http.request(method, path)
    assert refused.status_code == status
    assert refused.json()["error"]["type"] == "invalid_request_error"


async def test_other_paths_keep_our_own_shape(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/other")).json()["error"]["reason"] == "not_found"


async def test_a_failure_in_mid_stream_is_an_error_of_the_client(client: openai.AsyncOpenAI) -> None:
    stream = await ask(client, "broken", [user("x")], stream=True)
    said: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            said.append(chunk.choices[0].delta.content)  # noqa: PERF401 - it fails in the middle

    with pytest.raises(openai.APIError) as failed:
        await read()
    assert said == ["", "One", " two"]
    assert failed.value.code == "llm_error"


async def test_a_client_that_leaves_a_stream_ends_the_call_of_the_model(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    stream = await ask(client, "assistant", [user("x")], stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content == " t2":
            break
    await stream.close()
    await upstream.wait_for(aborts=1)


async def test_a_client_that_leaves_while_it_waits_ends_the_call_of_the_model(server: Any, upstream: Upstream) -> None:
    upstream.answer(tokens=3, hang="after_tokens")
    body = {"model": "assistant", "messages": [user("x")]}
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(base_url=server.base_url, timeout=0.3, trust_env=False) as impatient:
            await impatient.post("/v1/chat/completions", json=body)
    await upstream.wait_for(aborts=1)
