"""An answer of the embedded model that has become a loop ends there; other answers are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import orjson
import pytest

from app.config.llm import LLMConfig
from app.llm.base import LLMRequest, TextDelta
from app.llm.build import build_llm
from app.llm.llama_cpp import LlamaServer
from app.llm.local import LocalLLM
from app.llm.loops import LONGEST_PERIOD, LoopWatch
from app.llm.openai_compatible import OpenAISettings
from tests.fixtures.upstream import Upstream, event

HELLO = LLMRequest([b'{"role":"user","content":"hello"}'])


class RunningServer:
    """Stands for a child that serves at `socket_path`."""

    generation = 1
    is_running = True

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path

    async def ensure(self) -> None: ...

    async def close(self) -> None: ...


def sees_a_loop(text: str, *, size: int) -> bool:
    watch, data = LoopWatch(), text.encode()
    return any(watch.sees([TextDelta([data[at : at + size]])]) for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
@pytest.mark.parametrize(
    "round_", ["A wyrm is a creature born to be a wyrm. ", "no ", "x", "é", "ab\\n", "word " * (LONGEST_PERIOD // 5)]
)
def test_the_same_over_and_over_is_a_loop(round_: str, size: int) -> None:
    assert sees_a_loop("Once upon a time there was a dragon. " + round_ * (3000 // len(round_)), size=size)


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"{n}. This is point number {n} of the list." for n in range(300)),
        "| a | b |\\n" + "|" + "-" * 80 + "|" + "\\n| 1 | 2 |" * 3 + " and so on, with other words behind it." * 2,
        "ha" * 60 + " that was funny. " + "=" * 78 + " Then something else happened, which had never been seen before.",
        " ".join(str(n * n) for n in range(900)),
    ],
)
def test_lists_rules_and_numbers_are_no_loop(text: str) -> None:
    assert not any(sees_a_loop(text, size=size) for size in (1, 7, 64))


async def test_a_loop_ends_the_answer_with_the_reason_length(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    round_ = " A wyrm is a wyrm."
    async with Upstream(uds=path) as upstream:
        upstream.answer(raw=[event({"content": round_})] * 2000, delay=0.001)
        server = cast(LlamaServer, RunningServer(path))
        llm = LocalLLM("local", OpenAISettings("m", "http://local/v1", max_retries=0), server)
        stream, text = llm.stream(HELLO), b""
        while deltas := await stream.read():
            text += b"".join(chunk for delta in deltas for chunk in delta.chunks)
        assert stream.end.finish_reason == "length"
        assert 200 <= len(text) < 2000
        assert text.decode() == round_ * (len(text) // len(round_))
        await stream.closed()
        await upstream.wait_for(aborts=1, open_connections=0)
        assert llm.slots.taken == 0
        await llm.close()


async def test_the_embedded_model_is_asked_for_short_answers_without_repetition(tmp_path: Path) -> None:
    llm = build_llm("local", LLMConfig(type="local"))
    assert isinstance(llm, LocalLLM)
    body = orjson.loads(llm.stream(HELLO)._body)
    await llm.close()
    assert {name: body[name] for name in ("max_tokens", "temperature", "repeat_penalty", "repeat_last_n")} == {
        "max_tokens": 512,
        "temperature": 0.3,
        "repeat_penalty": 1.1,
        "repeat_last_n": 256,
    }
