"""Waiting for an answer of a server: until it comes, the call is stopped, or the server is silent for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from app.tools.base import ToolContext, ToolStopped
from app.tools.mcp.faults import Silent

T = TypeVar("T")

_CANCEL_SECONDS = 1.0
_PROGRESS_SECONDS = 0.1  # between two reports of progress that readers see
_PROGRESS_CHARS = 1_000


class Progress:
    """What a server says of a call on its way: shown to readers, and a sign of life."""

    def __init__(self, context: ToolContext) -> None:
        self.context = context
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()
        self._shown_at = 0.0

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.heard_at = self._loop.time()
        is_last = total is not None and progress >= total
        if self.heard_at - self._shown_at < _PROGRESS_SECONDS and not is_last:
            return  # a server may report thousands of times a second
        self._shown_at = self.heard_at
        percent = None if not total else max(0.0, min(100.0, 100 * progress / total))
        text = message[:_PROGRESS_CHARS].rstrip("\n") + "\n" if message else ""
        self.context.progress(text, percent)


async def answer_of(request: Coroutine[Any, Any, T], progress: Progress, *, silence_seconds: float) -> T:
    """The answer. A request that is not waited for any longer is cancelled, which tells the server.

    Raises:
        ToolStopped: the context's stop was set.
        Silent: the server said nothing for `silence_seconds`.
        Whatever the request raises.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(request, name="mcp call")
    stop = loop.create_task(progress.context.stop.wait(), name="mcp stop")
    try:
        while True:
            left = progress.heard_at + silence_seconds - loop.time()
            if left <= 0:
                raise Silent(f"did not answer within {silence_seconds:g} s")
            await asyncio.wait({task, stop}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if stop.done():
                raise ToolStopped
    finally:
        stop.cancel()
        await end(task)


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a request; a server that does not take the cancellation is not waited for."""
    if not task.done():
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
