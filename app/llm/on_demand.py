"""A server of one's own that loads its model at the first request, and stops loading when that one's client leaves.

Ollama does so. Others may wait for the same load: while they do, a stopped request keeps its connection.
"""

from __future__ import annotations

import asyncio

import aiohttp

from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.stream import OpenAIStream

_LOOK_SECONDS = 0.1
_LOADED_SECONDS = 60.0
"""A model that has just spoken is loaded: requests need no care then, which would cost a task each."""


class LoadedOnDemand(OpenAICompatible):
    """A request that is stopped before the model has said anything is held until it does, or nobody waits for it."""

    def __init__(self, name: str, settings: OpenAISettings) -> None:
        super().__init__(name, settings)
        self._spoke_at = -_LOADED_SECONDS
        self._holding: set[asyncio.Task[None]] = set()

    async def connect(self, body: bytes) -> aiohttp.ClientResponse:
        if self._has_spoken:
            return await super().connect(body)
        opening = asyncio.create_task(super().connect(body), name="llm-load")
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if self._is_loading:
                self._hold(opening)
            else:
                await _end(opening)
            raise

    def takes_over(self, response: aiohttp.ClientResponse) -> bool:
        """See `Upstream.takes_over`."""
        if not self._is_loading:
            return False
        self._hold(response)
        return True

    def left(self, stream: OpenAIStream, *, was_stopped_early: bool) -> None:
        super().left(stream, was_stopped_early=was_stopped_early)
        if stream.has_begun:
            self._spoke_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        await super().close()
        for task in self._holding:
            task.cancel()
        if self._holding:
            await asyncio.wait(self._holding)

    @property
    def _is_loading(self) -> bool:
        """Whether some wait for the first word of this model, and nobody has got one."""
        is_waited_for = bool(self.slots.waiting) or any(stream.is_waiting for stream in self._running)
        has_begun = self._has_spoken or any(stream.has_begun for stream in self._running)
        return is_waited_for and not has_begun and not self._is_closed

    @property
    def _has_spoken(self) -> bool:
        return asyncio.get_running_loop().time() - self._spoke_at < _LOADED_SECONDS

    def _hold(self, what: asyncio.Task[aiohttp.ClientResponse] | aiohttp.ClientResponse) -> None:
        task = asyncio.create_task(self._hold_while_loading(what), name="llm-hold")
        self._holding.add(task)
        task.add_done_callback(self._holding.discard)

    async def _hold_while_loading(self, what: asyncio.Task[aiohttp.ClientResponse] | aiohttp.ClientResponse) -> None:
        try:
            while self._is_loading:  # noqa: ASYNC110 - an event would be one more thing to set for each turn
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await _end(what)


async def _end(what: asyncio.Task[aiohttp.ClientResponse] | aiohttp.ClientResponse) -> None:
    """Close the connection, whether it stands or is being made."""
    if isinstance(what, aiohttp.ClientResponse):
        what.close()
        return
    what.cancel()
    await asyncio.wait({what})
    if not what.cancelled() and what.exception() is None:
        what.result().close()
