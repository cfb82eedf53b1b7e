"""One call of a Python function: in the loop if it is async, else in a thread; and how it is made to end."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from app.tools.base import ToolContext
from app.tools.progress_relay import ProgressRelay
from app.tools.threads import Threads


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calls of it give something to await."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


class AsyncCall:
    """An async function at work in the loop."""

    def __init__(self, function: Callable[..., Any], context: ToolContext) -> None:
        self.context = replace(context, stop=asyncio.Event())
        self.has_begun = True
        self._function = function
        self._is_ended = False

    async def run(self, positional: list[Any], named: dict[str, Any]) -> Any:
        try:
            value = self._function(*positional, **named)
            return await value if inspect.isawaitable(value) else value
        except (SystemExit, KeyboardInterrupt) as exc:  # they would end the loop
            raise RuntimeError(f"{type(exc).__name__}: {exc}") from exc

    def end(self, work: asyncio.Task[Any]) -> None:
        """Cancel it, once: a function that is cleaning up is not disturbed."""
        self.context.stop.set()
        if not self._is_ended:
            self._is_ended = True
            work.cancel()

    def close(self) -> None:
        self.context.on_progress = lambda _text, _percent: None


class ThreadCall:
    """A function at work in a thread. It can be asked to end (`ctx.is_stopped`), not made to."""

    def __init__(self, function: Callable[..., Any], context: ToolContext, threads: Threads) -> None:
        self.has_begun = False
        self._function = function
        self._threads = threads
        self._relay = ProgressRelay(context.on_progress)
        keep = None if context.on_keep is None else _from_thread(context.on_keep)
        self.context = replace(context, stop=asyncio.Event(), on_progress=self._relay.report, on_keep=keep)

    async def run(self, positional: list[Any], named: dict[str, Any]) -> Any:
        call = functools.partial(self._function, *positional, **named)
        value = await self._threads.run(call, name="tool", on_start=self._begin)
        return await value if inspect.isawaitable(value) else value

    def _begin(self) -> None:
        self.has_begun = True

    def end(self, work: asyncio.Task[Any]) -> None:
        self.context.stop.set()
        if not self.has_begun:
            work.cancel()

    def close(self) -> None:
        self._relay.close()


FunctionCall = AsyncCall | ThreadCall


def _from_thread(keep: Callable[[dict[str, Any]], Awaitable[None]]) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """`keep` for a loop of another thread: `asyncio.run(ctx.keep(…))`."""
    loop = asyncio.get_running_loop()

    async def kept(value: dict[str, Any]) -> None:
        async def inside() -> None:
            await keep(value)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(inside(), loop))

    return kept
