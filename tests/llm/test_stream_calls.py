"""An answer that asks for tools, over a real socket: whole at its end, alive until then, cut and stopped like text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.llm.base import CallDelta, Delta, LLMError, LLMRequest, LLMStopped, LLMTimeout, TextDelta, unescape
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.stream import OpenAIStream
from tests.fixtures.upstream import Upstream, event

HELLO = LLMRequest([b'{"role":"user","content":"hello"}'])
DONE = b"data: [DONE]\n\n"
WRITE = {"path": "hello.py", "content": "print('Grüße 😀')\n" * 20}


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture
async def make(upstream: Upstream) -> AsyncIterator[Any]:
    made: list[OpenAICompatible] = []

    def make(**settings: Any) -> OpenAICompatible:
        usual: dict[str, Any] = {"model": "m", "base_url": upstream.base_url, "api_key": "sk-secret", "max_retries": 0}
        made.append(OpenAICompatible("main", OpenAISettings(**usual | settings)))
        return made[-1]

    yield make
    for llm in made:
        await llm.close()


async def all_of(stream: OpenAIStream) -> list[Delta]:
    deltas: list[Delta] = []
    while more := await stream.read():
        deltas += more
    return deltas


def said(deltas: Sequence[Delta], kind: type[Delta]) -> str:
    return unescape(b"".join([chunk for delta in deltas if type(delta) is kind for chunk in delta.chunks]))


def asked(stream: OpenAIStream) -> list[tuple[str, Any]]:
    return [(call.name, orjson.loads(call.arguments)) for call in stream.end.calls]


def fragment(arguments: str, name: str | None = None) -> bytes:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return event({"tool_calls": [{"index": 0, "id": "a" if name else None, "function": function}]})


@pytest.mark.parametrize("delay", [0.0, 0.001])
async def test_calls_arrive_whole_beside_the_text(upstream: Upstream, make: Any, delay: float) -> None:
    upstream.answer(tokens=["I ", "write."], calls=[("write_file", WRITE), ("look", {})], delay=delay)
    stream = make().stream(HELLO)
    deltas = await all_of(stream)
    assert said(deltas, TextDelta) == "I write."
    assert said(deltas, CallDelta) == orjson.dumps(WRITE).decode() + "{}"
    assert asked(stream) == [("write_file", WRITE), ("look", {})]
    assert stream.end.finish_reason == "tool_calls"
    assert stream.end.usage is not None
    assert await stream.read() == []


async def test_calls_of_a_body_that_is_no_stream(upstream: Upstream, make: Any) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "write_file", "arguments": WRITE}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    upstream.answer(body=orjson.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}))
    stream = make().stream(HELLO)
    assert said(await all_of(stream), TextDelta) == ""
    assert asked(stream) == [("write_file", WRITE)]


async def test_pieces_of_arguments_keep_an_answer_alive(upstream: Upstream, make: Any) -> None:
    pieces = [fragment(f"{number},") for number in range(20)]
    upstream.answer(raw=[fragment("[", "count"), *pieces, fragment("0]"), event({}, finish="stop"), DONE], delay=0.07)
    stream = make(first_token_timeout=1.2, idle_timeout=1.2).stream(HELLO)
    await all_of(stream)
    assert asked(stream) == [("count", [*range(20), 0])]


async def test_empty_pieces_do_not_keep_an_answer_alive(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[fragment("", "look"), *[fragment("")] * 200], delay=0.02)
    with pytest.raises(LLMTimeout, match=r"sent nothing for 0\.2 s"):
        await all_of(make(idle_timeout=0.2).stream(HELLO))


@pytest.mark.parametrize("reason", ["length", "stop", "tool_calls"])
async def test_calls_without_text_are_an_answer_whatever_its_finish_reason(
    upstream: Upstream, make: Any, reason: str
) -> None:
    upstream.answer(raw=[fragment('{"path":"a"}', "look"), event({}, finish=reason), DONE])
    stream = make(max_tokens=100).stream(HELLO)
    await all_of(stream)
    assert asked(stream) == [("look", {"path": "a"})]
    assert stream.end.finish_reason == reason


async def test_a_call_that_was_cut_by_the_limit_is_a_failure_with_advice(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[fragment('{"path":"', "look"), event({}, finish="length"), DONE])
    with pytest.raises(
        LLMError, match=r"limit of 100 tokens in the middle of a tool call: raise llms\.main\.max_tokens"
    ):
        await all_of(make(max_tokens=100).stream(HELLO))


async def test_after_a_piece_of_a_call_there_is_no_other_attempt(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[fragment('{"path":"', "look")])
    stream = make(max_retries=2).stream(HELLO)
    with pytest.raises(LLMError, match="cut off"):
        await all_of(stream)
    assert len(upstream.requests) == 1
    assert stream.end.calls == []


async def test_more_calls_than_the_bound_fail_the_answer(upstream: Upstream, make: Any) -> None:
    upstream.answer(tokens=[], calls=[("look", {})] * 129)
    stream = make(max_retries=2).stream(HELLO)
    with pytest.raises(LLMError, match="more than 128 tool calls in one answer"):
        await all_of(stream)
    assert stream.end.calls == []
    assert len(upstream.requests) == 1


async def test_a_stop_between_pieces_closes_the_connection(upstream: Upstream, make: Any) -> None:
    upstream.answer(raw=[fragment('{"path":"', "look")], hang="after_tokens")
    stream = make().stream(HELLO)
    assert await stream.read() == [CallDelta([b'{\\"path\\":\\"'])]
    stream.close()
    with pytest.raises(LLMStopped):
        await stream.read()
    await stream.closed()
    await upstream.wait_for(aborts=1, open_connections=0)
