"""The scripted model keeps the promises of the seam."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.llm.base import Delta, LLMError, LLMRequest, LLMStopped, TextDelta, ThinkingDelta
from app.llm.scripted import Answer, ScriptedLLM, ScriptedStream

ASK = LLMRequest([b'{"role":"system","content":"s"}', '{"role":"user","content":"Grüße an\\nalle"}'.encode()])


async def all_of(stream: ScriptedStream) -> list[Delta]:
    deltas: list[Delta] = []
    while more := await stream.read():
        deltas += more
    return deltas


def text_of(deltas: list[Delta]) -> str:
    return "".join(json.loads(b'"%s"' % c) for d in deltas if isinstance(d, TextDelta) for c in d.chunks)


async def test_without_a_script_it_repeats_the_user() -> None:
    llm = ScriptedLLM()
    stream = llm.stream(ASK)
    assert text_of(await all_of(stream)) == "Grüße an\nalle"
    assert llm.asked == 1
    assert stream.end.finish_reason == "stop"
    assert stream.end.usage is not None
    assert stream.end.usage.source == "counted"
    assert stream.end.usage.completion_tokens == llm.count_tokens("Grüße an\nalle")
    assert await stream.read() == []


async def test_answers_come_in_turn_again_and_again() -> None:
    llm = ScriptedLLM("s", [Answer("one"), Answer("two")])
    assert [text_of(await all_of(llm.stream(ASK))) for _ in range(3)] == ["one", "two", "one"]


@pytest.mark.parametrize(
    ("chunk", "chunks"),
    [
        ("word", [b"a", b" b", b"\\n c "]),
        ("char", [b"a", b" ", b"b", b"\\n", b" ", b"c", b" "]),
        ("whole", [b"a b\\n c "]),
    ],
)
async def test_the_text_is_cut_as_asked(chunk: str, chunks: list[bytes]) -> None:
    stream = ScriptedLLM("s", [Answer("a b\n c ", chunk=chunk)]).stream(ASK)  # type: ignore[arg-type]
    assert await stream.read() == [TextDelta(chunks)]


async def test_thinking_comes_first() -> None:
    stream = ScriptedLLM("s", [Answer("yes", thinking="hm well")]).stream(ASK)
    assert await stream.read() == [ThinkingDelta([b"hm", b" well"]), TextDelta([b"yes"])]


async def test_delays_are_kept() -> None:
    loop = asyncio.get_running_loop()
    stream = ScriptedLLM("s", [Answer("a b c", first_delay_ms=30, delay_ms=10)]).stream(ASK)
    begun = loop.time()
    assert [await stream.read() for _ in range(4)] == [
        [TextDelta([b"a"])],
        [TextDelta([b" b"])],
        [TextDelta([b" c"])],
        [],
    ]
    assert 0.045 < loop.time() - begun < 5  # a busy machine is slow


async def test_it_fails_after_so_many_chunks() -> None:
    stream = ScriptedLLM("s", [Answer("a b c", fail_after=2, error="out of paper")]).stream(ASK)
    assert await stream.read() == [TextDelta([b"a", b" b"])]
    with pytest.raises(LLMError) as caught:
        await stream.read()
    assert caught.value.detail == "out of paper"


async def test_an_error_alone_comes_at_once() -> None:
    with pytest.raises(LLMError, match="out of paper"):
        await ScriptedLLM("s", [Answer("a", error="out of paper")]).stream(ASK).read()


@pytest.mark.parametrize(
    "answer", [Answer("a", first_delay_ms=60_000), Answer("", hang=True), Answer("a b", delay_ms=60_000)]
)
async def test_a_stop_ends_every_wait_at_once(answer: Answer) -> None:
    llm = ScriptedLLM("s", [answer])
    stream = llm.stream(ASK)
    reader = asyncio.ensure_future(all_of(stream))
    await asyncio.sleep(0.01)
    for _ in range(2):
        stream.close()
    with pytest.raises(LLMStopped):
        await asyncio.wait_for(reader, 0.05)
    with pytest.raises(LLMStopped):
        await stream.read()
    await stream.closed()
    assert llm.stopped == 1


async def test_a_hanging_answer_gives_its_chunks_first() -> None:
    stream = ScriptedLLM("s", [Answer("a", hang=True)]).stream(ASK)
    assert await stream.read() == [TextDelta([b"a"])]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.read(), 0.02)
