"""Which failures are worth another try, and when. Never after the first delta: the stream sees to that."""

from __future__ import annotations

import email.utils
import random
import re
from collections.abc import Callable, Mapping

from app.llm.base import LLMError

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 60.0
"""A provider that asks for more patience than this gets none: the user should hear it instead."""

_RETRYABLE = frozenset({408, 409, 429})

# How providers call an overload where they give no status: `overloaded_error`, `rate_limit_exceeded`, `UNAVAILABLE`,
# `InternalServerError`, `engine_overloaded`; compared without separators. An empty purse never fills by waiting.
_PASSING_KINDS = re.compile(
    "overload|ratelimit|toomany|throttl|unavailable|timeout|timedout|deadline|capacity|busy|internal|servererror|apierror"
    "|resourceexhausted"
)
_PASSING_WORDS = re.compile(
    "overloaded|too many requests|rate.?limit|temporarily|service unavailable|at capacity|server is busy|try again"
)
_LASTING = re.compile("insufficient|quota|billing|balance|credit|invalid|authenti|permission|notfound|not found")


def is_retryable_status(status: int, headers: Mapping[str, str] | None = None) -> bool:
    """Timeouts, conflicts, limits and the server's own faults; `x-should-retry` has the last word."""
    advice = headers.get("x-should-retry") if headers else None
    if advice in ("true", "false"):
        return advice == "true"
    return status in _RETRYABLE or status >= 500


def is_passing(status: int | None, kind: str, words: str) -> bool:
    """Whether a failure told inside an answer passes by itself: by its status, else by its kind, else by its words."""
    kind, words = re.sub(r"[^a-z]", "", kind.lower()), words.lower()
    if _LASTING.search(kind):
        return False
    if status is not None:
        return is_retryable_status(status)
    return bool(_PASSING_KINDS.search(kind) or (_PASSING_WORDS.search(words) and not _LASTING.search(words)))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the provider asks us to wait: `retry-after-ms`, or `retry-after` in seconds or as a date.

    `now` is the time in seconds since the epoch. Invalid values and past dates count as absent.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
            except (ValueError, OverflowError):
                continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None


class Retries:
    """The attempts of one request."""

    __slots__ = ("_left", "_random", "_taken")

    def __init__(self, max_retries: int, *, random: Callable[[], float] = random.random) -> None:
        self._left = max_retries
        self._taken = 0
        self._random = random

    def delay_after(self, error: LLMError) -> float | None:
        """Seconds until the next attempt, or `None` when there is none; counts it.

        The provider's `retry_after` if it gave one, else 0.5 s doubled each time up to 8 s; up to a quarter less
        (more, for a `retry_after`) by chance, so that many turns do not come back together.
        """
        if not error.retryable or self._left <= 0:
            return None
        asked = error.retry_after
        if asked is not None and asked > MAX_RETRY_AFTER_SECONDS:
            return None
        self._left -= 1
        self._taken += 1
        if asked is not None:
            return asked * (1 + 0.25 * self._random())
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (self._taken - 1))
        return delay * (1 - 0.25 * self._random())
