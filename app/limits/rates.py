"""Rates: a bucket of allowance that fills at a steady pace. Arithmetic only; counters keep the buckets."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, and `per_second` in the long run."""

    per_second: float
    burst: int

    @property
    def window_seconds(self) -> int:
        """How long an empty bucket takes to be full."""
        return max(math.ceil(self.burst / self.per_second), 1)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was left at a time, in seconds of any clock that all users of the bucket share."""

    level: float
    at: float

    def filled(self, rate: Rate, now: float) -> Bucket:
        return Bucket(min(self.level + max(now - self.at, 0.0) * rate.per_second, float(rate.burst)), now)

    def is_full(self, rate: Rate, now: float) -> bool:
        return self.filled(rate, now).level >= rate.burst


def taken(bucket: Bucket | None, rate: Rate, now: float, wanted: int) -> tuple[int, Bucket]:
    """How much of `wanted` there is, whole units only, and the bucket without it. `None`: a full bucket."""
    filled = Bucket(float(rate.burst), now) if bucket is None else bucket.filled(rate, now)
    granted = min(wanted, int(filled.level + 1e-9))
    return granted, Bucket(filled.level - granted, now)


def seconds_until_one(bucket: Bucket, rate: Rate) -> float:
    """How long it takes until there is a whole unit."""
    return max((1.0 - bucket.level) / rate.per_second, 0.0)
