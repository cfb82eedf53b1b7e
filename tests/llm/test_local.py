"""The embedded model behind the seam: started on demand, killed only when that stops nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from app.llm.base import CallDelta, Delta, LLMError, LLMRequest, LLMStopped
from app.llm.llama_cpp import LlamaServer
from app.llm.local import LocalLLM
from app.llm.openai_compatible import OpenAISettings
from app.llm.stream import OpenAIStream
from app.llm.weights import find_weights

LONG = "word " * 1500
READING_SECONDS = 0.3  # nothing announces that the child reads a prompt; after this time it does


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LlamaServer]:
    path = find_weights()
    assert path is not None, "make install fetches the weights"
    server = LlamaServer(path, threads=1, context=4096, slots=2)
    yield server
    await server.close()


@pytest_asyncio.fixture
async def llm(server: LlamaServer) -> AsyncIterator[LocalLLM]:
    settings = OpenAISettings("smollm2", "http://embedded/v1", max_tokens=20, max_retries=0)
    llm = LocalLLM("local", settings, server)
    yield llm
    await llm.close()


def ask(text: str) -> LLMRequest:
    return LLMRequest([orjson.dumps({"role": "user", "content": text})])


async def chunks_of(stream: OpenAIStream) -> int:
    count = 0
    while deltas := await stream.read():
        count += sum(len(delta.chunks) for delta in deltas)
    return count


async def test_it_starts_by_itself_and_answers(llm: LocalLLM, server: LlamaServer) -> None:
    stream = llm.stream(ask("Hi"))
    assert await chunks_of(stream) > 0
    assert stream.end.finish_reason in ("stop", "length")
    assert stream.end.usage is not None
    assert stream.end.usage.completion_tokens > 0
    assert server.generation == 1


async def test_it_comes_back_after_its_death(llm: LocalLLM, server: LlamaServer) -> None:
    await chunks_of(llm.stream(ask("Hi")))
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGKILL)
    assert await chunks_of(llm.stream(ask("Hi"))) > 0
    assert server.generation == 2


async def test_a_stop_while_it_reads_the_prompt_kills_it(llm: LocalLLM, server: LlamaServer) -> None:
    stream = llm.stream(ask(LONG))
    reader = asyncio.ensure_future(stream.read())
    await server.ensure()
    await asyncio.sleep(READING_SECONDS)
    stream.close()
    with pytest.raises(LLMStopped):
        await asyncio.wait_for(reader, 0.1)
    assert await chunks_of(llm.stream(ask("Hi"))) > 0
    assert server.generation == 2


async def test_a_stop_while_it_reads_spares_another_turn(llm: LocalLLM, server: LlamaServer) -> None:
    other = llm.stream(ask("Tell a story"))
    await other.read()
    stream = llm.stream(ask(LONG))
    reader = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0.1)
    stream.close()
    with pytest.raises(LLMStopped):
        await reader
    assert await chunks_of(other) > 0
    assert server.generation == 1


async def test_a_stop_while_it_speaks_kills_nothing(llm: LocalLLM, server: LlamaServer) -> None:
    stream = llm.stream(ask("Tell a story"))
    await stream.read()
    stream.close()
    await stream.closed()
    assert await chunks_of(llm.stream(ask("Hi"))) > 0
    assert server.generation == 1


async def test_a_missing_model_is_told(tmp_path: Path) -> None:
    server = LlamaServer(tmp_path / "none.gguf")
    llm = LocalLLM("local", OpenAISettings("m", "http://embedded/v1"), server)
    with pytest.raises(LLMError, match=r"no model file .*hector weights"):
        await llm.stream(ask("Hi")).read()
    await llm.close()


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"type": "integer", "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOL = orjson.dumps({"type": "function", "function": {"name": "weather", "parameters": SCHEMA}})
OTHER = orjson.dumps({"type": "function", "function": {"name": "look"}})


@pytest.mark.parametrize(("tools", "choice"), [([TOOL], "required"), ([OTHER, TOOL], "weather")])
async def test_a_forced_tool_gets_arguments_that_fit_its_schema(
    server: LlamaServer, tools: list[bytes], choice: str
) -> None:
    llm = LocalLLM("local", OpenAISettings("m", "http://embedded/v1", temperature=0.0, max_tokens=100), server)
    stream = llm.stream(LLMRequest(ask("The weather in Paris for 3 days?").messages, tools=tools, tool_choice=choice))
    deltas: list[Delta] = []
    while more := await stream.read():
        deltas += more
    assert {type(delta) for delta in deltas} == {CallDelta}
    [call] = stream.end.calls
    arguments = orjson.loads(call.arguments)
    assert (call.name, set(arguments), type(arguments["days"])) == ("weather", {"city", "days"}, int)
    assert call.call_id
    await llm.close()


async def test_it_is_not_offered_tools_that_it_may_choose_from(llm: LocalLLM) -> None:
    assert not llm.takes_tools
    stream = llm.stream(LLMRequest(ask("Hi").messages, tools=[TOOL, OTHER], tool_choice="auto"))
    assert orjson.loads(stream._body).keys() & {"tools", "tool_choice", "response_format"} == set()
    assert await chunks_of(stream) > 0
    assert stream.end.calls == []
