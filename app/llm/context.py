"""Context windows: how many tokens a model takes in, and where the figure comes from. Asked once, on first use."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import httpx2

log = logging.getLogger(__name__)

Source = Literal["configured", "provider", "refusal", "known", "embedded", "usual", "assumed"]

ASK_SECONDS = 2.0
"""How long a provider is waited for."""
PAUSE_SECONDS = 300.0
"""A provider that did not tell is not asked again for so long."""
LEAST_TOLD = 256
"""A smaller figure is a misunderstanding."""

_REFUSED = re.compile(
    r"(?:context (?:length|window|size)|max_model_len)\D{0,40}?(?P<behind>\d{3,9})"
    r"|> ?(?P<exceeded>\d{3,9}) maximum|<= ?(?P<bound>\d{3,9})",
    re.IGNORECASE,
)

SENTENCES: dict[Source, str] = {
    "configured": "by context_window",
    "provider": "as the provider says",
    "refusal": "as the provider said when it refused a request",
    "known": "known by its name",
    "embedded": "the embedded model",
    "usual": "as local models are loaded; context_window changes it",
    "assumed": "assumed, because the provider does not say; set context_window",
}


@dataclass(frozen=True, slots=True)
class Context:
    """A model takes in `tokens`, request and answer together."""

    tokens: int
    source: Source

    def __str__(self) -> str:
        return f"{self.tokens:,} tokens, {SENTENCES[self.source]}"


ASSUMED = Context(8_192, "assumed")
"""Used when neither the configuration nor the provider nor the name tells."""


@dataclass(frozen=True, slots=True)
class Told:
    """The answer of a provider. A figure that is not `is_final` may change once the model is loaded."""

    tokens: int
    is_final: bool = True


Ask = Callable[[], Awaitable[Told | None]]


class ContextWindow:
    """The context of one model. `known` is the best figure so far; `find` asks the provider first.

    Belongs to one event loop.
    """

    def __init__(self, start: Context, *, answer_tokens: int | None = None, ask: Ask | None = None) -> None:
        """`answer_tokens`: the longest answer that requests ask for; `ask`: `None` if there is no way to ask."""
        self.known = start
        self.answer_tokens = answer_tokens
        self._ask = ask
        self._is_final = ask is None
        self._failed_clock: float | None = None
        self._asking = asyncio.Lock()

    @property
    def is_settled(self) -> bool:
        """Whether asking would bring nothing now."""
        if self._is_final:
            return True
        return self._failed_clock is not None and time.monotonic() - self._failed_clock < PAUSE_SECONDS

    async def find(self) -> Context:
        """The context, as the provider says if it does so within `ASK_SECONDS`."""
        async with self._asking:
            if not self.is_settled:
                await self._find()
        return self.known

    async def _find(self) -> None:
        assert self._ask is not None
        told = None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                told = await self._ask()
        except (httpx2.HTTPError, OSError, ValueError, TimeoutError) as error:
            log.debug("the context of a model was not told: %r", error)
        if told is None or told.tokens < LEAST_TOLD:
            self._failed_clock = time.monotonic()
            return
        self._is_final = told.is_final
        if told.tokens != self.known.tokens or self.known.source != "provider":
            self.known = Context(told.tokens, "provider")

    def learn(self, words: str) -> None:
        """A provider refused a request as too long: take the size from its words if it is smaller than we thought."""
        found = _REFUSED.search(words.replace(",", ""))
        if found is None or self.known.source == "configured":
            return
        tokens = int(next(number for number in found.groups() if number is not None))
        if LEAST_TOLD <= tokens < self.known.tokens:
            self.known = Context(tokens, "refusal")
            self._is_final = True
