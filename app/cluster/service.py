"""Service: carries out the commands that other replicas sent to this one, on the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from app.cluster import errors_codec
from app.domain.errors import HectorError, Internal, Unavailable
from app.observability.tasks import Tasks
from app.storage.commands import Answer, Command

log = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
"""How long handlers may take to end at shutdown."""

Handler = Callable[[str, bytes], Awaitable[bytes]]
"""(session id, body) → answer. Raises a HectorError, which travels to the caller."""


class Service:
    """Handlers run beside each other; those of one session one after another, in the order of their commands."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._last: dict[str, asyncio.Task[None]] = {}
        """By session, the task of its newest command."""
        self._tasks = Tasks()

    def serve(self, operation: str, handler: Handler) -> None:
        self._handlers[operation] = handler

    def carry_out(self, commands: Sequence[Command], answer: Callable[[Answer], None]) -> None:
        """Start the handlers; `answer` is called once for each command."""
        for command in commands:
            before = self._last.get(command.session_id)
            task = self._tasks.start(self._run(command, before, answer), name=f"command {command.operation}")
            if command.session_id:
                self._last[command.session_id] = task
                task.add_done_callback(partial(self._forget, command.session_id))

    async def close(self) -> None:
        await self._tasks.wait(seconds=CLOSE_SECONDS)
        await self._tasks.cancel()

    async def _run(self, command: Command, before: asyncio.Task[None] | None, answer: Callable[[Answer], None]) -> None:
        answered, failure = None, None
        try:
            if before is not None:
                await asyncio.wait([before])
            answered = await self._handle(command)
        except HectorError as error:
            failure = errors_codec.encode(error)
        except asyncio.CancelledError:
            failure = errors_codec.encode(Unavailable("The server is shutting down.", reason="shutting_down"))
            raise
        except Exception:  # the edge of a task: the caller gets an answer
            log.exception("the command %s of another server failed", command.operation)
            failure = errors_codec.encode(Internal("Something went wrong on our side."))
        finally:
            answer(Answer(command.id, answered, failure))

    async def _handle(self, command: Command) -> bytes:
        handler = self._handlers.get(command.operation)
        if handler is None:
            raise Unavailable("The server that has this session runs another release, which cannot do this.")
        return await handler(command.session_id, command.body)

    def _forget(self, session_id: str, task: asyncio.Task[None]) -> None:
        if self._last.get(session_id) is task:
            del self._last[session_id]
