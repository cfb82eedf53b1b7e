"""A model that says what it was told to say, for tests and demonstrations; as stoppable as a real one."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal
from uuid import uuid4

import orjson

from app.domain.turn import Usage
from app.llm import tokens
from app.llm.base import (
    CallDelta,
    Delta,
    LLMError,
    LLMRequest,
    LLMStopped,
    StreamEnd,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    escape,
)
from app.llm.context import ASSUMED, Context, ContextWindow

_WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+")
_MAX_TAGS = 10_000
"""Sessions whose place in the script is remembered; the one that was quiet longest begins again."""


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call that an answer asks for. `arguments`: an object, or the text that the model writes instead of one.

    `call_id` is one of its own by default.
    """

    name: str
    arguments: Mapping[str, Any] | str = "{}"
    call_id: str = ""

    @property
    def written(self) -> str:
        """The arguments as the model writes them."""
        if isinstance(self.arguments, str):
            return self.arguments
        return orjson.dumps(self.arguments).decode()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: thinking, text, calls. `fail_after` counts chunks of all three; `error` without it fails at once.

    With `hang` the answer neither ends nor fails after its chunks. `when` is a regular expression: the answer is given
    only where it is found in the newest message of the user or the newest result of a tool, whichever came last.
    """

    text: str = ""
    thinking: str | None = None
    first_delay_ms: float = 0
    delay_ms: float = 0
    chunk: Literal["word", "char", "whole"] = "word"
    fail_after: int | None = None
    error: str | None = None
    hang: bool = False
    calls: tuple[ScriptedCall, ...] = ()
    when: str | None = None

    def chunks(self) -> list[tuple[type[Delta], str]]:
        """The chunks before the end or the failure, in order."""
        chunks: list[tuple[type[Delta], str]] = []
        parts: list[tuple[type[Delta], str]] = [(ThinkingDelta, self.thinking or ""), (TextDelta, self.text)]
        for kind, text in parts + [(CallDelta, call.written) for call in self.calls]:
            chunks += [(kind, piece) for piece in _cut(text, self.chunk)]
        if not self.fails:
            return chunks
        return list(islice(chunks, self.fail_after or 0))

    @property
    def fails(self) -> bool:
        return self.error is not None or self.fail_after is not None


class ScriptedLLM:
    """Implements `LLM`: gives `answers` in turn, again and again; without any, the last user message back.

    An answer whose `when` fits goes before those that have none. Turns are counted for each tag, so that sessions do
    not get each other's lines. `echo` gives the delays and the cut of messages given back. `asked` counts the requests,
    `stopped` the streams closed before their end.
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
        self._given: OrderedDict[str, Counter[int]] = OrderedDict()

    def stream(self, request: LLMRequest) -> ScriptedStream:
        """See `LLM.stream`."""
        self.asked += 1
        return ScriptedStream(self, request, self._next(request))

    def _next(self, request: LLMRequest) -> Answer:
        """Of the answers that fit, the one that was given least often to this tag, the first of several."""
        fitting = self._fitting(request)
        if not fitting:
            return _like(self._echo, last_user_text(request))
        given = self._given.pop(request.tag, None) or Counter()
        self._given[request.tag] = given
        if len(self._given) > _MAX_TAGS:
            self._given.popitem(last=False)
        number = min(fitting, key=given.__getitem__)
        given[number] += 1
        return self._answers[number]

    def _fitting(self, request: LLMRequest) -> list[int]:
        conditions = [(number, answer.when) for number, answer in enumerate(self._answers)]
        if any(when is not None for _, when in conditions):
            newest = newest_text(request)
            matching = [number for number, when in conditions if when is not None and re.search(when, newest)]
            if matching:
                return matching
        return [number for number, when in conditions if when is None]

    def count_tokens(self, text: str) -> int:
        """See `LLM.count_tokens`."""
        return tokens.count(text)

    @property
    def counts_exactly(self) -> bool:
        return True

    @property
    def takes_tools(self) -> bool:
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
        answer = self._answer
        written = (answer.text, answer.thinking or "", *(call.name + call.written for call in answer.calls))
        self.end.finish_reason = "tool_calls" if answer.calls else "stop"
        self.end.usage = Usage(prompt, sum(map(tokens.count, written)), "counted")
        self.end.calls = [ToolCall(call.call_id or _new_id(), call.name, call.written) for call in answer.calls]


def last_user_text(request: LLMRequest) -> str:
    """The text of the last message of the user; empty when there is none."""
    return _last_text(request, ("user",))


def newest_text(request: LLMRequest) -> str:
    """The text of the last message of the user or result of a tool; empty when there is neither."""
    return _last_text(request, ("user", "tool"))


def _last_text(request: LLMRequest, roles: tuple[str, ...]) -> str:
    for message in reversed(request.messages):
        if orjson.loads(message).get("role") in roles:
            return _text_of(message)
    return ""


def _new_id() -> str:
    return f"call_{uuid4().hex[:24]}"


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
