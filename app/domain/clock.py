"""Times: milliseconds since the epoch inside, ISO 8601 in UTC with milliseconds on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import overload

EARLIEST_MS = int(datetime(1000, 1, 1, tzinfo=UTC).timestamp()) * 1000
LATEST_MS = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp()) * 1000
"""Times beyond, which older releases let imports store, are shown as these: a date cannot be computed from them."""


@overload
def iso(milliseconds: int) -> str: ...
@overload
def iso(milliseconds: None) -> None: ...
@overload
def iso(milliseconds: int | None) -> str | None: ...
def iso(milliseconds: int | None) -> str | None:
    """`2026-11-21T23:59:59.123Z` for milliseconds since the epoch."""
    if milliseconds is None:
        return None
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


def utc(milliseconds: int) -> datetime:
    """The moment, or the nearest that has a date."""
    return datetime.fromtimestamp(min(max(milliseconds, EARLIEST_MS), LATEST_MS) / 1000, UTC)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return utc(seconds * 1000).strftime("%Y-%m-%dT%H:%M:%S")
