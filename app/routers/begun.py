"""A coroutine begun in one tick and seen through in another, by a task that wakes up only if it must."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, cast


class Begun:
    """A coroutine that was run to its first wait, in whatever tick. Await it to see it through.

    `is_done`: it never waited, and nothing is left to await. An error it met belongs to whoever awaits it.
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
