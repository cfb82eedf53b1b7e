"""Lag: how late the event loop is with what is due, the one sign of overload that everything in the server shares."""

from __future__ import annotations

import asyncio
import time
from collections import deque

_TICK_SECONDS = 0.1
_TICKS = 5


class LoopLag:
    """`seconds` is the median lateness of the last ticks, so that a pause or two are no overload; `limit_seconds` what
    is bearable.
    """

    def __init__(self, limit_seconds: float) -> None:
        self.seconds = 0.0
        self.limit_seconds = limit_seconds
        self._late: deque[float] = deque([0.0] * _TICKS, _TICKS)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            begin = time.monotonic()
            await asyncio.sleep(_TICK_SECONDS)
            self._late.append(max(time.monotonic() - begin - _TICK_SECONDS, 0.0))
            self.seconds = sorted(self._late)[_TICKS // 2]
