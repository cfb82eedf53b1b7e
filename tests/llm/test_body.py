"""What a request asks for is in its bytes, and what a provider refuses is left out of the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.llm.base import LLMError, LLMRequest
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.presets import quirks_for
from app.llm.stream import OpenAIStream
from tests.fixtures.upstream import Reply, Upstream

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"properties": {"tool_choice": {}}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"required": ["messages"]}}}
MESSAGES = ({"role": "user", "content": ',"tool_choice":"auto",'}, {"role": "user", "content": "é"})


def asking(
    *, tools: int = 1, tool_choice: str | None = None, response_format: dict[str, Any] | None = None
) -> LLMRequest:
    encoded = orjson.dumps(response_format) if response_format is not None else None
    return LLMRequest(
        [orjson.dumps(message) for message in MESSAGES],
        tools=[orjson.dumps(TOOL)] * tools,
        tool_choice=tool_choice,
        response_format=encoded,
    )


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture
async def llm(upstream: Upstream) -> AsyncIterator[OpenAICompatible]:
    llm = OpenAICompatible("main", OpenAISettings(model="m", base_url=upstream.base_url, max_retries=0))
    yield llm
    await llm.close()


async def read_all(stream: OpenAIStream) -> None:
    while await stream.read():
        pass


def refusal(words: str, status: int = 400) -> dict[str, Any]:
    return {"status": status, "body": orjson.dumps({"error": {"message": words}})}


@pytest.mark.parametrize("tools", [1, 3])
@pytest.mark.parametrize("choice", [None, "auto", "none", "required", "look", 'a"b'])
@pytest.mark.parametrize("response_format", [None, SCHEMA])
async def test_a_request_has_tools_choice_and_format(
    upstream: Upstream, llm: OpenAICompatible, tools: int, choice: str | None, response_format: dict[str, Any] | None
) -> None:
    await read_all(llm.stream(asking(tools=tools, tool_choice=choice, response_format=response_format)))
    seen = upstream.requests[0].json
    assert seen.pop("messages") == list(MESSAGES)
    assert seen.pop("tools") == [TOOL] * tools
    named = {"type": "function", "function": {"name": choice}}
    chosen = choice if choice in (None, "auto", "none", "required") else named
    assert seen.pop("tool_choice", None) == chosen
    assert seen.pop("response_format", None) == response_format
    assert set(seen) == {"model", "stream", "stream_options"}


async def test_without_tools_there_is_no_choice(upstream: Upstream, llm: OpenAICompatible) -> None:
    await read_all(llm.stream(asking(tools=0, tool_choice="auto", response_format=SCHEMA)))
    assert {"tools", "tool_choice"} & set(upstream.requests[0].json) == set()
    assert upstream.requests[0].json["response_format"] == SCHEMA


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("Unsupported parameter: 'tool_choice'", 400),
        ("deepseek-reasoner does not support this tool_choice", 400),
        ("Thinking may not be enabled when tool_choice forces tool use.", 400),
        ("No endpoints found that support the provided 'tool_choice' value.", 404),
    ],
)
async def test_a_refused_tool_choice_is_left_out_from_then_on(
    upstream: Upstream, llm: OpenAICompatible, words: str, status: int
) -> None:
    upstream.answer(**refusal(words, status))
    for choice in ("required", "required", "auto", "look"):
        await read_all(llm.stream(asking(tool_choice=choice)))
    choices = [seen.json.get("tool_choice") for seen in upstream.requests]
    assert choices == ["required", None, None, "auto", {"type": "function", "function": {"name": "look"}}]
    assert all(seen.json["tools"] == [TOOL] for seen in upstream.requests)
    assert all(seen.json["messages"] == list(MESSAGES) for seen in upstream.requests)


@pytest.mark.parametrize(
    "words",
    [
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "This response_format type is unavailable now",
        "structured output is not supported",
    ],
)
async def test_a_refused_response_format_is_left_out_from_then_on(
    upstream: Upstream, llm: OpenAICompatible, words: str
) -> None:
    upstream.answer(**refusal(words))
    for kind in (SCHEMA, SCHEMA, {"type": "json_object"}):
        await read_all(llm.stream(asking(tool_choice="auto", response_format=kind)))
    formats = [seen.json.get("response_format") for seen in upstream.requests]
    assert formats == [SCHEMA, None, None, {"type": "json_object"}]
    assert all(seen.json["tool_choice"] == "auto" for seen in upstream.requests)


@pytest.mark.parametrize("system", [None, "Be kind."])
async def test_a_format_that_is_left_out_is_told_in_words(
    upstream: Upstream, llm: OpenAICompatible, system: str | None
) -> None:
    upstream.answer(**refusal("unknown field response_format"))
    messages = [*([{"role": "system", "content": system}] if system else []), *MESSAGES]
    request = LLMRequest([*map(orjson.dumps, messages)], response_format=orjson.dumps(SCHEMA))
    await read_all(llm.stream(request))
    refused, asked = [seen.json["messages"] for seen in upstream.requests]
    assert refused == messages
    assert asked[1:] == list(MESSAGES)
    assert asked[0]["role"] == "system"
    assert asked[0]["content"].startswith(f"{system}\n\nAnswer" if system else "Answer")
    assert '{"required":["messages"]}' in asked[0]["content"]


async def test_that_an_object_is_wanted_is_always_told(upstream: Upstream, llm: OpenAICompatible) -> None:
    wanted = {"type": "json_object"}
    await read_all(llm.stream(asking(tools=0, response_format=wanted)))
    [seen] = upstream.requests
    assert seen.json["response_format"] == wanted
    assert "JSON" in seen.json["messages"][0]["content"]
    assert seen.json["messages"][1:] == list(MESSAGES)


async def test_a_provider_that_ignores_formats_is_told_in_words(upstream: Upstream) -> None:
    settings = OpenAISettings(model="m", base_url=upstream.base_url, quirks=quirks_for("anthropic", "m"))
    llm = OpenAICompatible("main", settings)
    await read_all(llm.stream(asking(response_format=SCHEMA)))
    await llm.close()
    [seen] = upstream.requests
    assert "response_format" not in seen.json
    assert '{"required":["messages"]}' in seen.json["messages"][0]["content"]


async def test_several_refusals_one_after_the_other(upstream: Upstream, llm: OpenAICompatible) -> None:
    for words in ("unknown field stream_options", "unknown field tool_choice", "unknown field response_format"):
        upstream.answer(**refusal(words))
    await read_all(llm.stream(asking(tool_choice="auto", response_format=SCHEMA)))
    await read_all(llm.stream(asking(tool_choice="auto", response_format=SCHEMA)))
    assert len(upstream.requests) == 5
    assert set(upstream.requests[-1].json) == {"model", "stream", "messages", "tools"}


async def test_two_requests_that_are_refused_at_once_both_go_on(upstream: Upstream, llm: OpenAICompatible) -> None:
    for _ in range(2):
        upstream.answer(**refusal("unknown field tool_choice"), headers_delay=0.05)
    await asyncio.gather(*[read_all(llm.stream(asking(tool_choice="auto"))) for _ in range(2)])
    assert ["tool_choice" in seen.json for seen in upstream.requests] == [True, True, False, False]


@pytest.mark.parametrize(
    "words",
    [
        "Invalid schema for response_format 'x': In context=(), 'additionalProperties' is required to be supplied",
        "Invalid value: 'look'. 'tool_choice' not found in 'tools'.",
        "messages: at least one message is required",
    ],
)
async def test_a_fault_of_the_request_is_told_and_nothing_is_left_out(
    upstream: Upstream, llm: OpenAICompatible, words: str
) -> None:
    upstream.answer(**refusal(words))
    request = asking(tool_choice="look", response_format=SCHEMA)
    with pytest.raises(LLMError, match=words[:20]):
        await read_all(llm.stream(request))
    await read_all(llm.stream(request))
    assert len(upstream.requests) == 2
    assert {"tool_choice", "response_format"} < set(upstream.requests[-1].json)


async def test_a_provider_that_refuses_without_it_as_well_is_not_asked_for_ever(
    upstream: Upstream, llm: OpenAICompatible
) -> None:
    upstream.default = Reply(**refusal('"auto" tool choice requires --enable-auto-tool-choice'))
    with pytest.raises(LLMError, match="enable-auto-tool-choice"):
        await read_all(llm.stream(asking(tool_choice="auto")))
    assert len(upstream.requests) == 2
