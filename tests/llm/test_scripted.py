"""The scripted model keeps the promises of the seam."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.llm.base import CallDelta, Delta, LLMError, LLMRequest, LLMStopped, TextDelta, ThinkingDelta
from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM, ScriptedStream

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


async def test_each_session_gets_the_answers_in_turn() -> None:
    llm = ScriptedLLM("s", [Answer("one"), Answer("two")])
    tags = ["a", "b", "a", "b", "a", "c"]
    said = [text_of(await all_of(llm.stream(LLMRequest(ASK.messages, tag)))) for tag in tags]
    assert said == ["one", "one", "two", "two", "one", "one"]


async def test_an_answer_may_be_chosen_by_what_was_said() -> None:
    answers = [
        Answer("one"),
        Answer("Sunny.", when="[Ww]eather"),
        Answer("Still sunny.", when="weather"),
        Answer("two"),
    ]
    llm = ScriptedLLM("s", answers)

    async def said(*messages: tuple[str, str]) -> str:
        entries = [json.dumps({"role": role, "content": content}).encode() for role, content in messages]
        return text_of(await all_of(llm.stream(LLMRequest(entries, "s"))))

    assert await said(("user", "Weather?"), ("system", "weather is told below")) == "Sunny."
    assert await said(("user", "Hello")) == "one"
    assert await said(("user", "Hello"), ("assistant", ""), ("tool", "The weather is fine.")) == "Still sunny."
    assert await said(("user", "The weather?"), ("assistant", ""), ("tool", "404")) == "two"
    assert await said(("user", "And the weather?")) == "Sunny."


async def test_where_no_answer_fits_it_repeats_the_user() -> None:
    llm = ScriptedLLM("s", [Answer("Sunny.", when="weather")])
    assert text_of(await all_of(llm.stream(ASK))) == "Grüße an\nalle"


async def test_calls_come_after_the_text() -> None:
    calls = (ScriptedCall("write_file", {"path": "a b.py", "size": 1}), ScriptedCall("look", call_id="c2"))
    stream = ScriptedLLM("s", [Answer("I write.", calls=calls)]).stream(ASK)
    assert await all_of(stream) == [
        TextDelta([b"I", b" write."]),
        CallDelta([b'{\\"path\\":\\"a', b' b.py\\",\\"size\\":1}', b"{}"]),
    ]
    assert stream.end.finish_reason == "tool_calls"
    first, second = stream.end.calls
    assert (first.name, json.loads(first.arguments)) == ("write_file", {"path": "a b.py", "size": 1})
    assert (second.call_id, second.name, second.arguments) == ("c2", "look", "{}")
    assert first.call_id not in ("", "c2")
    assert stream.end.usage is not None
    assert stream.end.usage.completion_tokens > ScriptedLLM().count_tokens("I write.")


async def test_arguments_of_calls_come_in_pieces_where_there_is_a_delay() -> None:
    calls = (ScriptedCall("say", "not json"), ScriptedCall("stop"))
    stream = ScriptedLLM("s", [Answer(delay_ms=1, calls=calls)]).stream(ASK)
    assert [await stream.read() for _ in range(3)] == [[CallDelta([piece])] for piece in (b"not", b" json", b"{}")]
    assert stream.end.calls == []
    assert await stream.read() == []
    assert [call.arguments for call in stream.end.calls] == ["not json", "{}"]


async def test_an_answer_that_fails_asks_for_nothing() -> None:
    stream = ScriptedLLM("s", [Answer("a", fail_after=2, calls=(ScriptedCall("say", "b c"),))]).stream(ASK)
    assert await stream.read() == [TextDelta([b"a"]), CallDelta([b"b"])]
    with pytest.raises(LLMError):
        await stream.read()
    assert stream.end.calls == []


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
