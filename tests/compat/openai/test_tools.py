"""Tools of the caller: the turn waits for their results, which the next request brings; the agent's own run here."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": PARAMETERS}}
]
QUESTION = {"role": "user", "content": "Is it warm?"}


async def ask(client: openai.AsyncOpenAI, agent: str, messages: list[Any], **more: Any) -> Any:
    return await client.chat.completions.create(model=agent, messages=messages, tools=TOOLS, **more)


def results_for(message: Any, text: str = "30 degrees") -> list[Any]:
    """The message with its calls as a client repeats it, and the results."""
    calls = [call.model_dump() for call in message.tool_calls]
    said = {"role": "assistant", "content": message.content, "tool_calls": calls}
    return [said, *[{"role": "tool", "tool_call_id": call["id"], "content": text} for call in calls]]


async def test_the_caller_runs_its_tool_and_the_agent_its_own(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    stored = (await http.get("/agents/asker/sessions")).json()
    first = await ask(client, "asker", [QUESTION])
    [choice] = first.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me ask.")
    [call] = choice.message.tool_calls  # todo_write has run at the server
    assert (call.type, call.function.name, json.loads(call.function.arguments)) == (
        "function",
        "weather",
        {"city": "Rome"},
    )
    second = await ask(client, "asker", [QUESTION, *results_for(choice.message)])
    assert (second.choices[0].finish_reason, second.choices[0].message.content) == ("stop", "It is warm.")
    assert second.usage.total_tokens > 0
    assert (await http.get("/agents/asker/sessions")).json() == stored, "the request was no session"


async def test_a_stream_ends_with_the_calls_and_the_next_one_goes_on(client: openai.AsyncOpenAI) -> None:
    stream = client.chat.completions.stream(model="asker-only", messages=[QUESTION], tools=TOOLS)  # type: ignore[list-item]
    async with stream as events:
        async for _ in events:
            pass
        [choice] = (await events.get_final_completion()).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me ask.")
    assert choice.message.tool_calls is not None
    [asked] = choice.message.tool_calls  # this agent has no todo_write: that call was refused
    assert asked.function.name == "weather"


async def test_the_model_is_told_of_the_tools_and_of_the_results(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    upstream.answer(tokens=[], calls=[("weather", {"city": "Rome"})], finish="tool_calls")
    first = await ask(client, "assistant", [QUESTION])
    assert upstream.requests[-1].json["tools"][0]["function"]["parameters"] == PARAMETERS
    stream = await ask(client, "assistant", [QUESTION, *results_for(first.choices[0].message)], stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == " t0 t1 t2"
    told = upstream.requests[-1].json["messages"]
    assert [message["role"] for message in told[-3:]] == ["user", "assistant", "tool"]
    assert "30 degrees" in told[-1]["content"]
    assert upstream.requests[-1].json["tools"] == upstream.requests[0].json["tools"]


async def test_a_bound_session_goes_on_after_the_calls(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    bound: Any = {"metadata": {"session_id": "with-tools"}}
    first = await ask(client, "asker", [QUESTION], **bound)
    calls = results_for(first.choices[0].message)
    second = await ask(client, "asker", [QUESTION, *calls], **bound)
    answer = {"role": "assistant", "content": second.choices[0].message.content}
    await ask(client, "asker", [QUESTION, *calls, answer, {"role": "user", "content": "Sure?"}], **bound)
    page = (await http.get("/agents/asker/sessions/with-tools/messages?roles=user,assistant")).json()["messages"]
    assert [message["content"] for message in page] == [
        "Is it warm?",
        "Let me ask.",
        "It is warm.",
        "Sure?",
        "Let me ask.",
    ]


async def test_a_caller_that_leaves_after_its_result_ends_the_call_of_the_model(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    upstream.answer(tokens=[], calls=[("weather", {"city": "Rome"})], finish="tool_calls")
    first = await ask(client, "assistant", [QUESTION])
    upstream.answer(tokens=3, hang="after_tokens")
    stream = await ask(client, "assistant", [QUESTION, *results_for(first.choices[0].message)], stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content == " t2":
            break
    await stream.close()
    await upstream.wait_for(aborts=1)


FUNCTIONS: Any = [{"type": "function", **TOOLS[0]["function"]}]


def outputs_for(response: Any) -> list[Any]:
    calls = [item for item in response.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": "30 degrees"} for call in calls]


async def test_a_response_ends_with_the_calls_and_the_next_one_goes_on(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(model="asker", input="Is it warm?", tools=FUNCTIONS)
    [said, call] = first.output
    assert (first.status, said.type, call.type) == ("completed", "message", "function_call")
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Rome"})
    assert (await client.responses.retrieve(first.id)).output == first.output
    second = await client.responses.create(
        model="asker", input=outputs_for(first), tools=FUNCTIONS, previous_response_id=first.id
    )
    assert (second.status, second.output_text) == ("completed", "It is warm.")
    assert [item.type for item in second.output] == ["message"]
    third = await client.responses.create(model="asker", input="Sure?", previous_response_id=second.id)
    assert third.conversation == first.conversation


async def test_a_stream_of_a_response_does_the_same_without_a_word_of_the_one_before(
    client: openai.AsyncOpenAI,
) -> None:
    async with client.responses.stream(model="asker", input="Is it warm?", tools=FUNCTIONS, store=False) as stream:
        first = await stream.get_final_response()
    history: list[Any] = [{"role": "user", "content": "Is it warm?"}, *[item.to_dict() for item in first.output]]
    given: Any = [*history, *outputs_for(first)]
    events = [
        event async for event in await client.responses.create(model="asker", input=given, tools=FUNCTIONS, stream=True)
    ]
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "It is warm."
    outputs: list[Any] = [first.output, events[-1].response.output]
    ids = [{item.id for item in output} for output in outputs]
    assert ids[0] & ids[1] == set()


async def test_results_that_nothing_waits_for_are_refused(client: openai.AsyncOpenAI) -> None:
    first = await ask(client, "asker", [QUESTION])
    answered = [QUESTION, *results_for(first.choices[0].message)]
    await ask(client, "asker", answered)

    async def is_refused() -> bool:
        with pytest.raises(openai.BadRequestError) as refused:
            await ask(client, "asker", answered)
        return refused.value.param == "messages"

    assert await eventually(is_refused)


@pytest.mark.parametrize("function", [{}, {"name": ""}, {"name": "x", "parameters": {"type": "nothing"}}])
async def test_a_tool_that_is_none_is_refused(http: httpx.AsyncClient, function: dict[str, Any]) -> None:
    body = {"model": "echo", "messages": [QUESTION], "tools": [{"type": "function", "function": function}]}
    refused = await http.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"].startswith("tools[0].function.")
