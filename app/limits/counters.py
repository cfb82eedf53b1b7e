"""Counters: what has been used of a limit. The seam between limits and where they are counted.

`LocalCounters` count in this process. Where several servers are one service, `shared.py` counts over all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from app.limits.rates import Bucket, Rate, seconds_until_one, taken

MOST_BUCKETS = 10_000
"""Buckets from which on the full ones are dropped: a full bucket says no more than none."""

SWEEP_SECONDS = 1.0
"""Looking through them for each request with a new name would cost more than the request."""


@dataclass(frozen=True, slots=True)
class Taken:
    """`wait_seconds`: 0 if there was allowance. `left`: what this process may still take at once."""

    wait_seconds: float
    left: int


class Counters(Protocol):
    """Names are free to choose; each has one rate, or one number of places."""

    async def take(self, name: str, rate: Rate) -> Taken:
        """Take one of the allowance."""
        ...

    async def hold(self, name: str, most: int) -> bool:
        """Occupy a place until `release`; false: none is free."""
        ...

    def release(self, name: str) -> None: ...


class LocalCounters:
    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[Bucket, Rate]] = {}
        self._held: dict[str, int] = {}
        self._swept = float("-inf")

    async def take(self, name: str, rate: Rate) -> Taken:
        now, known = self._clock(), self._buckets.get(name)
        granted, bucket = taken(known[0] if known is not None else None, rate, now, 1)
        if known is None and len(self._buckets) >= MOST_BUCKETS and now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._drop_full(now)
        self._buckets[name] = (bucket, rate)
        return Taken(0.0 if granted else seconds_until_one(bucket, rate), int(bucket.level))

    async def hold(self, name: str, most: int) -> bool:
        held = self._held.get(name, 0)
        if held >= most:
            return False
        self._held[name] = held + 1
        return True

    def release(self, name: str) -> None:
        held = self._held.get(name, 0) - 1
        if held > 0:
            self._held[name] = held
        else:
            self._held.pop(name, None)

    def _drop_full(self, now: float) -> None:
        self._buckets = {
            name: (bucket, rate) for name, (bucket, rate) in self._buckets.items() if not bucket.is_full(rate, now)
        }
