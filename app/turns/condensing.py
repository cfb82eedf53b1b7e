"""Condensing: one session's oldest messages become a summary, by calls of a model that can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from app.domain.message import is_blank
from app.domain.turn import Usage
from app.llm.base import LLM, LLMError, LLMRequest, LLMStopped, LLMStream, TextDelta, unescape
from app.memory.budget import SMALL_TOKENS
from app.memory.summary_buffer import SummaryBuffer
from app.memory.working import Entry
from app.turns.template import fit_template

T = TypeVar("T")

SECONDS = 60.0
"""What one call may take; a summary that takes longer is not worth waiting for."""
LARGE_BYTES = 16_384
"""From here on tokens are counted in a thread: a megabyte takes 0.1 to 2 s."""


class NotCondensed(Exception):
    """The model did not write a summary; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Condensed:
    """A summary of `tokens`, of all messages up to number `upto`; 0 while the first of them is not whole."""

    text: str
    tokens: int
    upto: int


@dataclass(slots=True, eq=False)
class Condensing:
    """A job on its way. `stop` ends it at once, from any task; what it wrote before stays."""

    session_id: str
    llm: LLM
    task: asyncio.Task[None] | None = None
    failure: str | None = None
    is_stopped: bool = False
    usages: list[Usage] = field(default_factory=list)
    _stream: LLMStream | None = None
    _is_late: bool = False

    def stop(self) -> None:
        self.is_stopped = True
        if self._stream is not None:
            self._stream.close()

    async def condense(self, memory: SummaryBuffer, old: str, messages: Sequence[Entry]) -> AsyncIterator[Condensed]:
        """Summarize messages after the summary `old`, portion by portion, each into the summary of those before.

        Raises:
            LLMStopped: the job was stopped.
            NotCondensed: the model failed, was too slow, or said nothing.
        """
        portions = memory.portions(messages, most=await self._largest(memory))
        size = sum([len(message.encoded) for message in messages])
        while (portion := await counted(lambda: next(portions, None), size=size)) is not None:
            said = await self._ask(memory, old, portion.text)
            old, tokens = await counted(partial(memory.fitted, said), size=len(said))
            yield Condensed(old, tokens, portion.upto)

    async def _largest(self, memory: SummaryBuffer) -> int:
        """Tokens of a portion that the model takes in beside the old summary and the new one."""
        context = self.llm.context
        if memory.portion_tokens > SMALL_TOKENS:
            await context.find()
        return context.known.tokens * 3 // 10

    async def _ask(self, memory: SummaryBuffer, old: str, said: str) -> str:
        """One call: a summary of `old` and what was said after it. Raises like `condense`."""
        if self.is_stopped:
            raise LLMStopped
        messages = memory.request(old, said)
        request = LLMRequest(fit_template(messages), self.session_id, max_tokens=2 * memory.longest)
        stream = self._stream = self.llm.stream(request)
        timer = asyncio.get_running_loop().call_later(SECONDS, self._give_up)
        chunks: list[bytes] = []
        try:
            await self._read(stream, chunks, most_bytes=32 * memory.longest)
        except LLMStopped:
            if not self._is_late:
                raise
            raise NotCondensed(f"it took longer than {SECONDS:.0f} s") from None
        except LLMError as error:
            raise NotCondensed(str(error)) from error
        finally:
            timer.cancel()
            stream.close()
            self._stream = None
            text = unescape(b"".join(chunks)).strip()
            if text or stream.end.usage is not None:
                self.usages.append(stream.end.usage or _count(self.llm, messages, text))
        if is_blank(text):
            raise NotCondensed("the model said nothing")
        return text

    async def _read(self, stream: LLMStream, chunks: list[bytes], *, most_bytes: int) -> None:
        """Until it is over, or has said far more than it was asked for."""
        size = 0
        while size < most_bytes and (deltas := await stream.read()):
            for delta in deltas:
                if type(delta) is TextDelta:
                    chunks += delta.chunks
                    size += sum(map(len, delta.chunks))

    def _give_up(self) -> None:
        self._is_late = True
        if self._stream is not None:
            self._stream.close()


def _count(llm: LLM, messages: Sequence[Entry], text: str) -> Usage:
    """What a call cost by our own count; of a provider that does not say, or of a call that was cut."""
    prompt = sum([message.count(llm.count_tokens) for message in messages])
    return Usage(prompt, llm.count_tokens(text), "counted" if llm.counts_exactly else "estimated")


async def counted(count: Callable[[], T], *, size: int) -> T:
    """Work that counts tokens of `size` bytes of text: in a thread if that is much."""
    return count() if size < LARGE_BYTES else await asyncio.to_thread(count)
