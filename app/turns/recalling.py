"""Recalling: what long-term memory has to say to a message, on its way while the turn is prepared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from app.domain.errors import Unavailable
from app.domain.label import Trust, least_trusted
from app.domain.memory import Memory, Owner
from app.memory.block import block, facts
from app.memory.recall import Hit, Recollection
from app.turns.condensing import counted

log = logging.getLogger(__name__)

SPARE = 24
"""Hits asked for beyond the limit: those the model sees anyway are left out afterwards."""

How = Literal["recalled", "nothing", "late", "failed"]


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a turn got from memory: text for the model, facts for readers and the record (`block` is "" for none)."""

    how: How
    block: str = ""
    memories: list[dict[str, object]] = field(default_factory=list)
    tokens: int = 0
    by_meaning: bool = False
    took_ms: float = 0.0
    trust: Trust = "user"
    """The least trusted of it."""

    def to_json(self) -> dict[str, object]:
        return {
            "recall": self.how,
            "memories": self.memories,
            "tokens": self.tokens,
            "by_meaning": self.by_meaning,
            "took_ms": round(self.took_ms, 1),
        }


class Recalling:
    """A recall on its way. Always ended: by `result`, or by `cancel`."""

    def __init__(self, looking: asyncio.Task[Recollection], owner: Owner, *, limit: int, seconds: float) -> None:
        self._looking = looking
        self._owner = owner
        self._limit = limit
        self._seconds = seconds
        self._started = time.monotonic()

    def cancel(self) -> None:
        self._looking.cancel()

    async def result(self, shown: Collection[str], count_tokens: Callable[[str], int]) -> Recalled:
        """What it found, but for messages in `shown`, which the model sees anyway. Waits until its time is up."""
        rest = self._seconds - (time.monotonic() - self._started)
        try:
            await asyncio.wait([self._looking], timeout=max(rest, 0))
        finally:
            self._looking.cancel()
        took_ms = (time.monotonic() - self._started) * 1000
        if not self._looking.done() or self._looking.cancelled():
            return Recalled("late", took_ms=took_ms)
        try:
            found = self._looking.result()
            hits = [hit for hit in found.hits if not self._is_shown(hit.memory, shown)][: self._limit]
            texts = [near.text for hit in hits for near in _told_of(hit)]
            size = sum(map(len, texts))
            return await counted(lambda: self._told(hits, shown, found, count_tokens, took_ms), size=size)
        except Exception as error:  # whatever is wrong with a memory, the turn goes on without it
            log.warning("memories could not be recalled: %s", error, exc_info=not isinstance(error, Unavailable))
            return Recalled("failed", took_ms=took_ms)

    def _is_shown(self, memory: Memory, shown: Collection[str]) -> bool:
        """Whether the model sees it anyway: a message of the window, or a summary of this very session."""
        if memory.kind == "summary" and memory.owner.session_id == self._owner.session_id:
            return True
        return memory.message_id is not None and memory.message_id in shown

    def _told(
        self,
        hits: list[Hit],
        shown: Collection[str],
        found: Recollection,
        count_tokens: Callable[[str], int],
        took_ms: float,
    ) -> Recalled:
        text = block(hits, shown=shown, asker=self._owner)
        return Recalled(
            "recalled" if hits else "nothing",
            text,
            [facts(hit, self._owner) for hit in hits],
            count_tokens(text) if text else 0,
            found.by_meaning,
            took_ms,
            least_trusted("user", *[near.trust for hit in hits for near in _told_of(hit)]),
        )


def _told_of(hit: Hit) -> list[Memory]:
    return [near for near in (hit.memory, hit.before, hit.after) if near is not None]


def recalled_lines(memory: dict[str, Any] | None) -> list[str]:
    """What a turn recalled, for its debug frames."""
    return [f"[Recalled: {found['score']} {found['text']}]" for found in (memory or {}).get("memories", ())]
