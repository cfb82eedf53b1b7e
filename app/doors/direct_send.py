"""Direct send: text leaves in the tick it arrives in, straight to the server's own `send`.

Two departures from the usual way live here, and only here, because each costs every token otherwise
(docs/benchmarks.md, "Choices"): body frames pass by the middleware, and the server's `send`, a coroutine that waits
only when the reader is slow, is begun by a plain call instead of by a task that is woken for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, cast

from starlette.types import Scope, Send

_SERVER_SEND = "hector.server_send"


def keep_server_send(scope: Scope, send: Send) -> None:
    """Called before any middleware: `send` is the server's own."""
    scope[_SERVER_SEND] = send


def server_send(scope: Scope, send: Send) -> Send:
    """What body frames are sent by; `send` where nothing was kept (an application in a test)."""
    found: Send = scope.get(_SERVER_SEND, send)
    return found


class Begun:
    """A coroutine that was run to its first wait. Await it to see it through, in any task.

    `is_done`: it never waited, and nothing is left to await. An error it met is raised where it is awaited.
    """

    __slots__ = ("_coroutine", "_error", "_waits_for", "is_done")

    def __init__(self, awaitable: Awaitable[None]) -> None:
        self._coroutine = cast(Coroutine[Any, Any, None], awaitable)
        self._error: BaseException | None = None
        self._waits_for: Any = None
        self.is_done = False
        try:
            self._waits_for = self._coroutine.send(None)
        except StopIteration:
            self.is_done = True
        except Exception as error:
            self._error = error

    def __await__(self) -> Generator[Any, Any, None]:
        if self._error is not None:
            raise self._error
        try:
            while not self.is_done:
                try:
                    answer = yield self._waits_for
                except BaseException as error:
                    self._waits_for = self._coroutine.throw(error)
                else:
                    self._waits_for = self._coroutine.send(answer)
        except StopIteration:
            self.is_done = True
