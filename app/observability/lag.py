"""Lag: how late the server is with what is due, the one sign of overload that everything in it shares.

Whoever wants to begin a turn asks here. In a stampede turns begin as fast as the server can begin them: the others wait
in the order they came, for less than a second, and are refused then. So nobody's first byte takes seconds, and clients
that ask again at once do not use up the time of those who are served.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

_TICK_SECONDS = 0.1
_QUICK_TICK_SECONDS = 0.01
"""While somebody waits."""
_TICKS = 5
_STARTS = 16
"""So many turns may begin in every tick."""
_STARTS_BEFORE_CONNECTIONS = 2
"""While many connections wait: among them may be one that asks how the server is."""
_MANY_CONNECTIONS = 64
_PATIENCE_SECONDS = 0.6


class LoopLag:
    """`seconds` is the median lateness of the last ticks, so that a pause or two are no overload; `limit_seconds` what
    is bearable.

    The median comes too late for a stampede. That shows in the present tick, which is overdue because of what began in
    it, and in the connections that nobody has accepted yet: `connections` counts them.
    """

    def __init__(self, limit_seconds: float) -> None:
        self.seconds = 0.0
        self.limit_seconds = limit_seconds
        self.connections: Callable[[], int] = lambda: 0
        self._late: deque[float] = deque([0.0] * _TICKS, _TICKS)
        self._due = float("inf")
        self._starts = 0
        self._is_measuring = False
        self._queue: deque[tuple[float, asyncio.Future[bool]]] = deque()

    async def run(self) -> None:
        """Measure, and let in who waits, until cancelled."""
        self._is_measuring = True
        try:
            while True:
                tick = _QUICK_TICK_SECONDS if self._queue else _TICK_SECONDS
                self._due = time.monotonic() + tick
                self._starts = 0
                self._let_in()
                await asyncio.sleep(tick)
                self._late.append(max(time.monotonic() - self._due, 0.0))
                self.seconds = sorted(self._late)[_TICKS // 2]
        finally:
            self._is_measuring = False
            while self._queue:
                _, waiting = self._queue.popleft()
                if not waiting.done():
                    waiting.set_result(False)

    async def may_begin(self) -> bool:
        """Whether a turn may begin: at once, or after a wait; `False` when too many others wait."""
        if not self._is_measuring:  # nobody would let in who waits
            return self.seconds <= self.limit_seconds
        if not self._queue and self.seconds <= self.limit_seconds:
            is_crowded = self._starts >= _STARTS and (
                self.connections() > _MANY_CONNECTIONS or time.monotonic() - self._due > self.limit_seconds
            )
            if not is_crowded:
                self._starts += 1
                return True
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((time.monotonic() + _PATIENCE_SECONDS, waiting))
        return await waiting

    def _let_in(self) -> None:
        if not self._queue:
            return
        room = 0
        if self.seconds <= self.limit_seconds:
            room = _STARTS if self.connections() <= _MANY_CONNECTIONS else _STARTS_BEFORE_CONNECTIONS
        now = time.monotonic()
        while self._queue and (self._starts < room or self._queue[0][0] <= now):
            _, waiting = self._queue.popleft()
            if waiting.done():  # who waited has left
                continue
            is_let_in = self._starts < room
            self._starts += is_let_in
            waiting.set_result(is_let_in)
