"""A model that says what it was told to say, for tests and demonstrations; as stoppable as a real one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import orjson

from app.domain.turn import Usage
from app.llm import tokens
from app.llm.base import Delta, LLMError, LLMRequest, LLMStopped, StreamEnd, TextDelta, ThinkingDelta, escape
from app.llm.context import ASSUMED, Context, ContextWindow

_WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `fail_after` counts chunks, thinking included; `error` without it fails at once.

    With `hang` the answer neither ends nor fails after its chunks.
    """

    text: str = ""
    thinking: str | None = None
    first_delay_ms: float = 0
    delay_ms: float = 0
    chunk: Literal["word", "char", "whole"] = "word"
    fail_after: int | None = None
    error: str | None = None
    hang: bool = False

    def chunks(self) -> list[tuple[type[Delta], str]]:
        """The chunks before the end or the failure, in order."""
        thinking: list[tuple[type[Delta], str]] = [
            (ThinkingDelta, piece) for piece in _cut(self.thinking or "", self.chunk)
        ]
        chunks = thinking + [(TextDelta, piece) for piece in _cut(self.text, self.chunk)]
        if not self.fails:
            return chunks
        return list(islice(chunks, self.fail_after or 0))

    @property
    def fails(self) -> bool:
        return self.error is not None or self.fail_after is not None


class ScriptedLLM:
    """Implements `LLM`: gives `answers` in turn, again and again; without any, the last user message back.

    `echo` gives the delays and the cut of those. `asked` counts the requests, `stopped` the streams
    closed before their end.
    """

    def __init__(
        self,
        name: str = "scripted",
        answers: Sequence[Answer] = (),
        *,
        echo: Answer | None = None,
        context: Context | None = None,
    ) -> None:
        self.name = name
        self.model = "scripted"
        self.context = ContextWindow(context or ASSUMED)
        self.asked = 0
        self.stopped = 0
        self._answers = list(answers)
        self._echo = echo or Answer()

    def stream(self, request: LLMRequest) -> ScriptedStream:
        """See `LLM.stream`."""
        answer = self._answers[self.asked % len(self._answers)] if self._answers else None
        self.asked += 1
        return ScriptedStream(self, request, answer or _like(self._echo, last_user_text(request)))

    def count_tokens(self, text: str) -> int:
        """See `LLM.count_tokens`."""
        return tokens.count(text)

    @property
    def counts_exactly(self) -> bool:
        return True

    async def close(self) -> None:
        """Nothing to close."""


class ScriptedStream:
    """Implements `LLMStream`. Chunks without a delay between them come in one read."""

    def __init__(self, llm: ScriptedLLM, request: LLMRequest, answer: Answer) -> None:
        self.end = StreamEnd()
        self._llm = llm
        self._request = request
        self._answer = answer
        self._chunks = answer.chunks()
        self._given = 0
        self._is_over = False
        self._is_stopped = False
        self._wait: asyncio.Future[None] | None = None

    @property
    def was_accepted(self) -> bool:
        """See `LLMStream`. A script that fails at once refuses its request."""
        return self._given > 0 or not self._answer.fails

    async def read(self) -> list[Delta]:
        """See `LLMStream.read`."""
        if self._is_stopped:
            raise LLMStopped("the answer was stopped")
        if self._is_over:
            return []
        answer, first = self._answer, self._given == 0
        delay = answer.first_delay_ms if first else answer.delay_ms
        if self._given < len(self._chunks):
            await self._sleep(delay / 1000)
            count = 1 if answer.delay_ms or (first and answer.first_delay_ms) else len(self._chunks)
            return self._give(count)
        if first:
            await self._sleep(delay / 1000)
        if answer.hang:
            await self._sleep(None)
        if answer.fails:
            words = answer.error or "the script says so"
            raise LLMError(f"The model {self._llm.model!r} failed: {words}", detail=words)
        self._finish()
        return []

    def close(self) -> None:
        """See `LLMStream.close`."""
        if self._is_stopped or self._is_over:
            return
        self._is_stopped = True
        self._llm.stopped += 1
        if self._wait is not None and not self._wait.done():
            self._wait.set_result(None)

    async def closed(self) -> None:
        """See `LLMStream.closed`."""

    async def _sleep(self, seconds: float | None) -> None:
        """Wait, for ever without a number, or until `close`."""
        if seconds == 0:
            await asyncio.sleep(0)
        else:
            loop = asyncio.get_running_loop()
            wait = self._wait = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, _wake, wait)
            try:
                await wait
            finally:
                if timer is not None:
                    timer.cancel()
        if self._is_stopped:
            raise LLMStopped("the answer was stopped")

    def _give(self, count: int) -> list[Delta]:
        deltas: list[Delta] = []
        for kind, text in self._chunks[self._given : self._given + count]:
            if deltas and type(deltas[-1]) is kind:
                deltas[-1].chunks.append(escape(text))
            else:
                deltas.append(kind([escape(text)]))
            self._given += 1
        return deltas

    def _finish(self) -> None:
        self._is_over = True
        prompt = sum(tokens.count(_text_of(message)) for message in self._request.messages)
        completion = tokens.count(self._answer.text) + tokens.count(self._answer.thinking or "")
        self.end.finish_reason = "stop"
        self.end.usage = Usage(prompt, completion, "counted")


def last_user_text(request: LLMRequest) -> str:
    """The text of the last message of the user; empty when there is none."""
    for message in reversed(request.messages):
        if orjson.loads(message).get("role") == "user":
            return _text_of(message)
    return ""


def _text_of(message: bytes) -> str:
    content = orjson.loads(message).get("content")
    return content if isinstance(content, str) else ""


def _like(echo: Answer, text: str) -> Answer:
    return Answer(text, None, echo.first_delay_ms, echo.delay_ms, echo.chunk)


def _cut(text: str, chunk: Literal["word", "char", "whole"]) -> list[str]:
    if chunk == "char":
        return list(text)
    if chunk == "whole":
        return [text] if text else []
    return _WORD.findall(text)


def _wake(wait: asyncio.Future[None]) -> None:
    if not wait.done():
        wait.set_result(None)
