"""The budget of working memory where the configuration leaves it out: a share of what the model takes in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.llm.base import LLM
from app.llm.context import Context
from app.memory.summary_buffer import SummaryBuffer
from app.memory.working import Entry

SHARE = 0.6
"""Of the model's context; the rest is for the answer, the system prompt and what is recalled."""
EMBEDDED_TOKENS = 2_000
"""The embedded model takes in more, but is slow to read it."""
LEAST_SHARE = 4
"""At least a quarter of the context, also where `max_tokens` would leave less."""
SPARE_SHARE = 20
"""A twentieth of the context is kept free: tokens of most models are estimated."""
SMALL_TOKENS = 1_200
"""History that fits every model: the provider is not asked because of it."""
USUAL_ANSWER_TOKENS = 4_096
"""Room for an answer whose length nobody has limited, if that is at most `1 / LEAST_SHARE` of the context."""
_LARGE_BYTES = 16_384
"""Text that is longer is taken for more than `SMALL_TOKENS` without counting."""


def budget_for(context: Context, *, answer_tokens: int | None, prompt_tokens: int) -> int:
    """Tokens of history and summary for a model: `SHARE` of its context, less if the answer needs the room."""
    if context.source == "embedded":
        return EMBEDDED_TOKENS
    room = context.tokens - (answer_tokens or 0) - prompt_tokens - context.tokens // SPARE_SHARE
    return max(min(int(context.tokens * SHARE), room), context.tokens // LEAST_SHARE)


def request_limit(context: Context, *, answer_tokens: int | None) -> int:
    """Tokens of a request at most, tools included: what the context leaves beside the answer, with some to spare."""
    least = context.tokens // LEAST_SHARE
    answer = answer_tokens if answer_tokens is not None else min(USUAL_ANSWER_TOKENS, least)
    return max(context.tokens - answer - context.tokens // SPARE_SHARE, least)


class ModelBudget:
    """Gives a `SummaryBuffer` its budget, and another one when more is known of its model's context."""

    def __init__(self, buffer: SummaryBuffer, llm: LLM, system: Entry | None) -> None:
        self.tools_tokens = 0
        """What the tools of the agent take in each request; a change counts from the next `settle` on."""
        self._buffer = buffer
        self._llm = llm
        self._system = system
        self._applied: tuple[Context, int] | None = None

    async def settle(self, history: Sequence[Entry]) -> None:
        """Set the budget for this history. The provider is asked about its model once there is much to send."""
        if not self._llm.context.is_settled and self._is_much(history):
            await self._llm.context.find()
        if self._applied != (self._llm.context.known, self.tools_tokens):
            await asyncio.to_thread(self.apply)

    async def find(self) -> Context:
        """Ask the provider, whatever there is to send; the budget follows."""
        context = await self._llm.context.find()
        await asyncio.to_thread(self.apply)
        return context

    def apply(self) -> None:
        """Set the budget from what is known. Counts the system prompt, so it may take a moment."""
        context = self._llm.context.known
        tools = self.tools_tokens
        prompt = tools + (self._system.count(self._llm.count_tokens) if self._system is not None else 0)
        answer = self._llm.context.answer_tokens
        self._buffer.resize(budget_for(context, answer_tokens=answer, prompt_tokens=prompt))
        self._applied = context, tools

    def _is_much(self, history: Sequence[Entry]) -> bool:
        if sum([message.at_most() for message in history]) <= SMALL_TOKENS:
            return False
        uncounted = sum([len(message.encoded) for message in history if message.tokens is None])
        return uncounted > _LARGE_BYTES or self._buffer.total(history) > SMALL_TOKENS
