"""What a turn says, collected for a caller that waits and has tools of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from starlette.types import Receive

from app.compat.openai.calls import CallsAsked
from app.compat.openai.chat_chunks import BETWEEN
from app.compat.openai.relay import watch, written
from app.conversation.conversation import Following
from app.domain.event import EventKind
from app.domain.turn import Turn
from app.events.run import Run
from app.turns.open_turn import OpenTurn


class Collected:
    """What a turn says, kept instead of sent (see `relay.Writer`)."""

    def __init__(self, asked: Callable[[], Awaitable[CallsAsked | None]]) -> None:
        self.calls: CallsAsked | None = None
        self._asked = asked
        self._parts: list[list[bytes]] = [[]]

    @property
    def is_over(self) -> bool:
        return self.calls is not None

    def said(self) -> str:
        texts = [orjson.loads(b'"%b"' % b"".join(part)) for part in self._parts if part]
        return BETWEEN.join(texts)

    def opening(self) -> bytes:
        return b""

    def text(self, run: Run) -> bytes:
        if run.kind is EventKind.TEXT:
            self._parts[-1].append(run.text)
        return b""

    async def fact(self, run: Run) -> bytes:
        if run.kind is EventKind.TOOL_CALL:
            self._parts.append([])
        elif run.kind is EventKind.WAITING:
            self.calls = await self._asked()
        return b""

    def later(self) -> bytes:
        return b""

    async def closing(self) -> bytes:
        return b""


async def collect(
    following: Following,
    turn: OpenTurn | Turn,
    collected: Collected,
    receive: Receive,
    begun: Callable[[], Awaitable[None]] | None,
) -> None:
    """Read the turn up to its end or up to calls. That the client left meanwhile is noticed by who waits next.

    `begun`: what is left to do once the reader counts as one.
    """
    watcher = asyncio.ensure_future(watch(receive, following.reading))
    try:
        if begun is not None:
            await begun()
        async for _ in written(following.conversation, following.reading, following.view(turn), collected):
            pass
    finally:
        watcher.cancel()
