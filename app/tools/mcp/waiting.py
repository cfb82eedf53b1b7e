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


class Exchange:
    """A call on its way. It outlives the run that began it while a person is asked; then another run waits for it.

    `on_progress` and `ask` are for the connection.
    """

    def __init__(self, context: ToolContext, *, silence_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._silence_seconds = silence_seconds
        self._task: asyncio.Task[dict[str, Any]] | None = None
        self._is_asked = asyncio.Event()
        self._reply: asyncio.Future[dict[str, Any]] | None = None
        self._heard_at = self._loop.time()
        self._shown_at = 0.0
        self.context = context
        self.question: dict[str, Any] | None = None
        """What the server asks of a person (parameters of `elicitation/create`)."""

    def begin(self, request: Coroutine[Any, Any, dict[str, Any]]) -> None:
        self._heard_at = self._loop.time()
        self._task = self._loop.create_task(request, name="mcp call")

    async def on_progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Show readers how far it is; a sign of life, too."""
        self._heard_at = self._loop.time()
        if self.question is not None:
            return  # the run that could show it is over
        is_last = total is not None and progress >= total
        if self._heard_at - self._shown_at < _PROGRESS_SECONDS and not is_last:
            return  # a server may report thousands of times a second
        self._shown_at = self._heard_at
        percent = max(0.0, min(100.0, 100 * progress / total)) if total else None
        text = message[:_PROGRESS_CHARS].rstrip("\n") + "\n" if message else ""
        self.context.progress(text, percent)

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """What a person answers, as the server wants it. The call waits as long as it takes."""
        self.question = question
        self._reply = self._loop.create_future()
        self._is_asked.set()
        return await self._reply

    def reply(self, response: dict[str, Any]) -> None:
        self.question = None
        self._is_asked.clear()
        self._heard_at = self._loop.time()
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(response)

    async def outcome(self) -> dict[str, Any] | None:
        """The raw result; `None`: the server has a question, and the call goes on waiting.

        Raises:
            ToolStopped: the context's stop was set.
            Silent: the server said nothing for too long.
            Whatever the request raises.
        """
        assert self._task is not None
        task = self._task
        stop = self._loop.create_task(self.context.stop.wait(), name="mcp stop")
        asked = self._loop.create_task(self._is_asked.wait(), name="mcp question")
        is_asked = False
        try:
            while not task.done():
                left = self._heard_at + self._silence_seconds - self._loop.time()
                if left <= 0:
                    raise Silent(f"did not answer within {self._silence_seconds:g} s")
                await asyncio.wait({task, stop, asked}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if stop.done() and not task.done():
                    raise ToolStopped
                if asked.done() and not task.done():
                    is_asked = True
                    return None
            return task.result()
        finally:
            stop.cancel()
            asked.cancel()
            if not is_asked:
                await self.end()

    async def end(self) -> None:
        """Cancel the request, which tells the server; one that does not take the cancellation is not waited for."""
        task = self._task
        if task is not None and not task.done():
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)


async def pause(seconds: float, context: ToolContext) -> None:
    """Raises ToolStopped: the context's stop was set."""
    try:
        async with asyncio.timeout(seconds):
            await context.stop.wait()
    except TimeoutError:
        return
    raise ToolStopped
