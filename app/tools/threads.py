"""Threads for calls that block and cannot be stopped: a hung one holds a place, and neither the loop nor the exit."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """Runs blocking calls, at most `limit` at a time; others wait. Threads are daemons: Python ends without them."""

    def __init__(self, limit: int = 32) -> None:
        self._places = asyncio.Semaphore(limit)

    async def run(self, call: Callable[[], T], *, name: str, on_start: Callable[[], None] = lambda: None) -> T:
        """What `call` returns or raises. A cancelled wait leaves the thread running; it keeps its place until it ends.

        `on_start` is called once there is a place, just before the thread begins.
        """
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            result, error = _outcome(context, call)
            try:
                loop.call_soon_threadsafe(self._finish, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

        try:
            threading.Thread(target=work, name=name, daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            self._places.release()
            raise
        on_start()
        return await future

    def _finish(self, future: asyncio.Future[T], result: Any, error: Exception | None) -> None:
        self._places.release()
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _outcome(context: contextvars.Context, call: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return context.run(call), None
    except BaseException as exc:  # also an exit that a function calls for: it ends no server
        if isinstance(exc, Exception) and not isinstance(exc, StopIteration):  # which no future can hold
            return None, exc
        return None, RuntimeError(f"{type(exc).__name__}: {exc}")
