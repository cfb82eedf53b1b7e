"""Limits: how much a principal, and each of its users, may do. Says no; what is counted where, its counters know."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Literal

from app.config.limits import LimitsConfig, OwnerLimits
from app.domain.errors import Allowance, QuotaExceeded
from app.domain.principal import Principal
from app.limits.counters import Counters
from app.limits.rates import Rate

DAY_SECONDS = 86_400
FRESH_SECONDS = 1.0
"""How long the tokens of a day count that were read from the ledger."""
MOST_KNOWN = 10_000
PLACE_RETRY_SECONDS = 2
"""A hint: nobody knows when a turn or a stream ends."""

Owner = tuple[str, str]
"""Principal and user."""
UsedTokens = Callable[[str, str | None, int], Awaitable[int]]
"""Tokens that a principal, or one of its users, has used on a day (its number since 1970)."""


class Limits:
    """One for the process; none where nothing is limited."""

    def __init__(
        self, config: LimitsConfig, counters: Counters, used_tokens: UsedTokens, *, clock_ms: Callable[[], int]
    ) -> None:
        self._levels: tuple[tuple[str, OwnerLimits], ...] = (("principal", config.principal), ("user", config.user))
        self._rates = [(level, rate) for level, limits in self._levels if (rate := rate_of(limits)) is not None]
        self._counters = counters
        self._used_tokens = used_tokens
        self._clock_ms = clock_ms
        self._tokens: dict[tuple[str, str | None], tuple[int, int]] = {}

    # -- requests -------------------------------------------------------------------------------

    async def request(self, caller: Principal) -> Allowance | None:
        """Count a request; what is left of the tightest allowance. Raises QuotaExceeded (`rate_limited`)."""
        tightest: Allowance | None = None
        for level, rate in self._rates:
            taken = await self._counters.take(_name("requests", level, (caller.id, caller.effective_user)), rate)
            reset = math.ceil(taken.wait_seconds) if taken.wait_seconds else math.ceil(1 / rate.per_second)
            left = Allowance(f"{level}-requests", rate.burst, rate.window_seconds, taken.left, reset)
            if taken.wait_seconds > 0:
                whose = _whose(level, caller.effective_user)
                raise _refused(
                    f"{whose} sends more than {rate.per_second:g} requests a second",
                    f"{level}.requests_per_second",
                    left,
                )
            if tightest is None or left.left < tightest.left:
                tightest = left
        return tightest

    # -- turns ----------------------------------------------------------------------------------

    async def turn(self, owner: Owner) -> Place:
        """A place for a turn that is to begin. Raises QuotaExceeded (`rate_limited`)."""
        await self._check_tokens(owner)
        return await self._hold("turns", owner)

    async def _check_tokens(self, owner: Owner) -> None:
        now_ms = self._clock_ms()
        day, passed = divmod(now_ms // 1000, DAY_SECONDS)
        for level, limits in self._levels:
            most = limits.tokens_per_day
            if most is None:
                continue
            used = await self._tokens_of(owner[0], owner[1] if level == "user" else None, day, now_ms)
            if used >= most:
                reset = DAY_SECONDS - passed
                spent = Allowance(f"{level}-tokens", most, DAY_SECONDS, 0, reset)
                raise _refused(
                    f"{_whose(level, owner[1])} has used the {most} tokens of a day (UTC)",
                    f"{level}.tokens_per_day",
                    spent,
                )

    async def _tokens_of(self, principal: str, user_id: str | None, day: int, now_ms: int) -> int:
        known = self._tokens.get((principal, user_id))
        if known is not None and now_ms - known[1] < FRESH_SECONDS * 1000 and now_ms // 1000 // DAY_SECONDS == day:
            return known[0]
        used = await self._used_tokens(principal, user_id, day)
        if len(self._tokens) >= MOST_KNOWN:
            self._tokens.clear()
        self._tokens[principal, user_id] = (used, now_ms)
        return used

    # -- places: streams and turns --------------------------------------------------------------

    async def stream(self, owner: Owner) -> Place:
        """A place for a reader. Raises QuotaExceeded (`rate_limited`)."""
        return await self._hold("streams", owner)

    async def _hold(self, kind: Literal["turns", "streams"], owner: Owner) -> Place:
        place = Place(self._counters)
        for level, limits in self._levels:
            most = limits.turns if kind == "turns" else limits.streams
            if most is None:
                continue
            name = _name(kind, level, owner)
            if not await self._counters.hold(name, most):
                place.free()
                full = Allowance(f"{level}-{kind}", most, None, 0, PLACE_RETRY_SECONDS)
                raise _refused(f"{_whose(level, owner[1])} has {most} open {kind} already", f"{level}.{kind}", full)
            place.names.append(name)
        return place


class Place:
    """A turn or a stream that counts, at each level that is limited, until it is freed or forgotten about."""

    def __init__(self, counters: Counters) -> None:
        self.names: list[str] = []
        self._counters = counters

    def free(self) -> None:
        """Again changes nothing."""
        while self.names:
            self._counters.release(self.names.pop())

    def __del__(self) -> None:
        self.free()


def rate_of(limits: OwnerLimits) -> Rate | None:
    """`burst` is what two seconds bring, unless the configuration says another number."""
    if limits.requests_per_second is None:
        return None
    return Rate(limits.requests_per_second, limits.burst or max(math.ceil(2 * limits.requests_per_second), 1))


def _name(kind: str, level: str, owner: Owner) -> str:
    """Principals and users have no U+0000 in their names."""
    return f"{kind}\0{owner[0]}" if level == "principal" else f"{kind}\0{owner[0]}\0{owner[1]}"


def _whose(level: str, user_id: str) -> str:
    return "The principal of this key" if level == "principal" else f"User {user_id!r}"


def _refused(sentence: str, key: str, allowance: Allowance) -> QuotaExceeded:
    error = QuotaExceeded(f"{sentence} (limits.{key}); try again in {allowance.reset_seconds} s.")
    error.retry_after_seconds = max(allowance.reset_seconds, 1)
    error.details = {"limit": key, "retry_after_seconds": error.retry_after_seconds}
    error.allowance = allowance
    return error
