"""Waiting for something that ends when the call is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from app.tools.base import ToolStopped

T = TypeVar("T")

_CLEANING_SECONDS = 5


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """What `work` returns or raises. When `stop` is set it is cancelled, once, and awaited.

    Raises:
        ToolStopped: it was cancelled, and is over.
    """
    if stop.is_set():
        work.close()
        raise ToolStopped
    loop = asyncio.get_running_loop()
    task = loop.create_task(work, name="work of a tool")
    stopping = loop.create_task(stop.wait(), name="stop of a tool")
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_CLEANING_SECONDS)
    if not task.done() or task.cancelled():
        raise ToolStopped
    return task.result()
