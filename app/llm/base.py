"""The seam to model providers: what a request is, what comes back, how a stream is stopped."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from app.domain.turn import Usage
from app.llm.context import ContextWindow

for _codec in ("utf-16", "utf-16-le"):
    codecs.lookup(_codec)  # loaded on first use otherwise: there may be no file left for it


class LLMError(Exception):
    """The model refused, failed or could not be reached.

    `detail` is the provider's own words, shown to the user; `retryable` says whether the same
    request may succeed a little later; `retry_after` is the delay in seconds that the provider asked for;
    `is_too_long` says that a shorter request may succeed.
    """

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        is_too_long: bool = False,
    ) -> None:
        super().__init__(message)
        self.is_too_long = is_too_long
        self.detail = detail
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after


class LLMTimeout(LLMError):
    """The model was too slow: connecting, before the first token or between two tokens."""


class LLMStopped(Exception):
    """`close` was called: we ended the answer. Not an error."""


@dataclass(frozen=True, slots=True)
class LLMRequest:
    """One call of a model.

    `messages` are ready JSON objects (`{"role": …, "content": …}`), encoded once when they were
    stored, so that a long history is joined and never walked again. `max_tokens`: a shorter answer than the
    model's own settings allow.
    """

    messages: Sequence[bytes]
    tag: str = ""
    max_tokens: int | None = None
    tools: Sequence[bytes] = ()
    """The tools it may call, ready JSON objects (`{"type": "function", "function": {…}}`)."""
    tool_choice: str | None = None
    """`auto`, `none`, `required` or the name of a tool; `None`: as the provider has it."""
    response_format: bytes | None = None
    """A ready JSON object; `None`: plain text."""


@dataclass(slots=True)
class TextDelta:
    """A run of plain text deltas, in order, each the inside of a JSON string: escaped UTF-8, unquoted.

    Escaped because readers receive JSON: the text goes from the provider's frame to ours untouched.
    A surrogate pair is never split between two chunks.
    """

    chunks: list[bytes]


@dataclass(slots=True)
class ThinkingDelta:
    """A run of deltas of the model's own reasoning, in the same form as `TextDelta`."""

    chunks: list[bytes]


@dataclass(slots=True)
class CallDelta:
    """Fragments of the arguments of tool calls, escaped like a `TextDelta`; without any, a call has begun.

    They are a sign of life, cut where the provider cut them, even inside a surrogate pair. What they add up to is told
    at the end: `StreamEnd.calls`.
    """

    chunks: list[bytes]


Delta = TextDelta | ThinkingDelta | CallDelta


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for. `call_id` is the provider's, unique in one answer; `arguments` as it wrote them:
    a JSON object, if it did well."""

    call_id: str
    name: str
    arguments: str


@dataclass(slots=True)
class StreamEnd:
    """What is known when the answer is over. Both are `None` where the provider said nothing."""

    finish_reason: str | None = None
    usage: Usage | None = None
    calls: list[ToolCall] = field(default_factory=list)
    """What the model asks for, in its order."""


class LLMStream(Protocol):
    """One answer on its way. `was_accepted`: the model has taken the request, so it may cost something."""

    end: StreamEnd

    @property
    def was_accepted(self) -> bool: ...

    async def read(self) -> list[Delta]:
        """Wait for what the model says next: all that has arrived, in order; `[]` when it is over.

        Raises:
            LLMStopped: `close` was called, before or during the wait.
            LLMTimeout, LLMError: the answer is cut; what was read before stays valid.
        """
        ...

    def close(self) -> None:
        """Stop now, from any task of the loop; a pending `read` raises `LLMStopped` at once. Idempotent.

        A stop never cancels the task that reads: two cancels a tick apart leak the connection in the
        client libraries, a response closed from outside does not (benchmarks, 10 of 10 closed in 3 ms).
        """
        ...

    async def closed(self) -> None:
        """Wait until the upstream connection is closed or given back."""
        ...


class LLM(Protocol):
    """One entry under `llms:`, ready to answer."""

    name: str
    model: str
    context: ContextWindow

    def stream(self, request: LLMRequest) -> LLMStream:
        """Begin an answer; nothing is sent before the first `read`."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` in this model's own encoding, or the nearest one we have."""
        ...

    @property
    def counts_exactly(self) -> bool:
        """Whether `count_tokens` is the model's own encoding (else it is an estimate)."""
        ...

    @property
    def takes_tools(self) -> bool:
        """Whether it asks for tools when `LLMRequest.tools` offers some; else they are not for it."""
        ...

    async def close(self) -> None: ...


def escape(text: str) -> bytes:
    """`text` as the inside of a JSON string, in UTF-8; U+0000, which Postgres cannot store, as U+FFFD."""
    return orjson.dumps(text.replace("\0", "\ufffd"))[1:-1]


def unescape(escaped: bytes) -> str:
    """The text inside a JSON string; bytes that are no UTF-8 become U+FFFD, half a surrogate pair too."""
    try:
        return str(orjson.loads(b'"%b"' % escaped))
    except orjson.JSONDecodeError:
        lenient: str = json.loads('"' + escaped.decode("utf-8", "replace") + '"', strict=False)
        return lenient.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
