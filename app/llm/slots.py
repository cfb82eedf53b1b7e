"""How many calls of one model run at the same time: first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class Slot:
    """The right to make one call; `release` gives it back, once however often it is called."""

    __slots__ = ("_slots",)

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots

    def release(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            slots._release()


class Slots:
    """At most `limit` slots are out; `None` sets no limit."""

    def __init__(self, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise ValueError("at least one call must be allowed")
        self._limit = limit
        self._taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def waiting(self) -> int:
        return sum(not waiter.done() for waiter in self._queue)

    async def acquire(self) -> Slot:
        """Wait for a slot. May be cancelled at any moment; a slot handed over just then goes to the next."""
        if self._limit is None or (self._taken < self._limit and not self._queue):
            self._taken += 1
            return Slot(self)
        waiter = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._release()
            elif waiter in self._queue:
                self._queue.remove(waiter)
            raise
        return Slot(self)

    def _release(self) -> None:
        # A slot is handed over and never free in between, so that a newcomer cannot overtake the queue.
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken -= 1
