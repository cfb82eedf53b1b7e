"""The open response of a stream, which can be closed from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2


class AsyncConnection:
    """The open response of a stream. `close` ends the stream from outside, also while it waits."""

    def __init__(self) -> None:
        self._response: httpx2.Response | None = None
        self._bytes: AsyncIterator[bytes] | None = None
        self._closing = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        return self._closing.is_set()

    async def hold(self, response: httpx2.Response) -> None:
        self._response, self._bytes = response, response.aiter_bytes()
        if self.is_closed:
            await self.release()

    async def read(self) -> bytes | None:
        """`None` at the end, and once it is closed."""
        received = await anext(self._bytes, None) if self._bytes is not None else None
        if received is None:
            await self.release()
        return received

    async def pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    async def release(self) -> None:
        response, self._response, self._bytes = self._response, None, None
        if response is not None:
            await response.aclose()

    async def close(self) -> None:
        self._closing.set()
        await self.release()
