"""Limits in one process: rates with a burst, places for turns and streams, tokens of a day."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.limits import LimitsConfig
from app.domain.errors import QuotaExceeded
from app.domain.principal import Principal
from app.limits.counters import MOST_BUCKETS, LocalCounters
from app.limits.limits import Limits, Place, rate_of
from app.limits.rates import Rate

ANN, BEN = Principal("shop", "key", "ann"), Principal("shop", "key", "ben")
DAY_MS = 86_400_000
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


class Bench:
    """Limits at a time of their own, on a ledger that is a dictionary."""

    def __init__(self, **config: Any) -> None:
        self.now = 1000.0
        self.now_ms = NOON_MS
        self.used: dict[tuple[str, str | None, int], int] = {}
        self.reads = 0
        self.counters = LocalCounters(clock=lambda: self.now)
        self.limits = Limits(
            LimitsConfig.model_validate(config), self.counters, self._used, clock_ms=lambda: self.now_ms
        )

    async def _used(self, principal: str, user_id: str | None, day: int) -> int:
        self.reads += 1
        return self.used.get((principal, user_id, day), 0)

    async def admitted(self, caller: Principal, number: int) -> int:
        """How many of so many requests at once are let through."""
        found = 0
        for _ in range(number):
            try:
                await self.limits.request(caller)
                found += 1
            except QuotaExceeded:
                pass
        return found


async def test_a_burst_passes_and_then_so_many_a_second() -> None:
    bench = Bench(user={"requests_per_second": 5, "burst": 8})
    assert await bench.admitted(ANN, 50) == 8
    for _ in range(10):
        bench.now += 1
        assert await bench.admitted(ANN, 50) == 5
    bench.now += 1000
    assert await bench.admitted(ANN, 50) == 8


async def test_a_slow_rate_says_when_to_come_again() -> None:
    bench = Bench(principal={"requests_per_second": 0.5, "burst": 1})
    allowance = await bench.limits.request(ANN)
    assert allowance is not None
    assert (allowance.name, allowance.most, allowance.window_seconds, allowance.left) == ("principal-requests", 1, 2, 0)
    bench.now += 0.5
    with pytest.raises(QuotaExceeded) as refused:
        await bench.limits.request(ANN)
    assert refused.value.retry_after_seconds == 2
    assert refused.value.details == {"limit": "principal.requests_per_second", "retry_after_seconds": 2}
    bench.now += 1.5
    await bench.limits.request(ANN)


async def test_users_have_their_own_and_the_principal_has_one_for_all() -> None:
    bench = Bench(principal={"requests_per_second": 1, "burst": 12}, user={"requests_per_second": 1, "burst": 8})
    assert await bench.admitted(ANN, 20) == 8
    other = Principal("other", "key", "ann")
    assert await bench.admitted(other, 20) == 8
    # What a user's own limit refuses was counted for the principal before.
    assert await bench.admitted(BEN, 20) == 0


def test_the_usual_burst_is_what_two_seconds_bring() -> None:
    assert rate_of(LimitsConfig.model_validate({"user": {"requests_per_second": 2.5}}).user) == Rate(2.5, 5)
    assert rate_of(LimitsConfig.model_validate({"user": {"requests_per_second": 0.1}}).user) == Rate(0.1, 1)
    assert rate_of(LimitsConfig().user) is None
    assert not LimitsConfig().is_on


async def test_places_are_given_back_once_whatever_becomes_of_them() -> None:
    bench = Bench(user={"turns": 2}, principal={"turns": 3})
    first, second = await bench.limits.turn(("shop", "ann")), await bench.limits.turn(("shop", "ann"))
    with pytest.raises(QuotaExceeded) as refused:
        await bench.limits.turn(("shop", "ann"))
    assert refused.value.details["limit"] == "user.turns"
    third = await bench.limits.turn(("shop", "ben"))
    with pytest.raises(QuotaExceeded) as refused:
        await bench.limits.turn(("shop", "ben"))
    assert refused.value.details["limit"] == "principal.turns"
    first.free()
    first.free()
    await bench.limits.turn(("shop", "ben"))  # forgotten about at once
    again = await bench.limits.turn(("shop", "ann"))
    for place in (second, third, again):
        place.free()
    assert bench.counters._held == {}


async def test_streams_and_turns_are_counted_apart() -> None:
    bench = Bench(user={"turns": 1, "streams": 1})
    places: list[Place] = [await bench.limits.turn(("shop", "ann")), await bench.limits.stream(("shop", "ann"))]
    with pytest.raises(QuotaExceeded):
        await bench.limits.stream(("shop", "ann"))
    assert len(places) == 2


async def test_the_tokens_of_a_day_end_at_midnight() -> None:
    bench = Bench(user={"tokens_per_day": 1000}, principal={"tokens_per_day": 5000})
    day = NOON_MS // DAY_MS
    bench.used["shop", "ann", day] = 999
    await bench.limits.turn(("shop", "ann"))
    bench.used["shop", "ann", day] = 1000
    await bench.limits.turn(("shop", "ann"))  # read a moment ago
    bench.now_ms += 1001
    with pytest.raises(QuotaExceeded) as refused:
        await bench.limits.turn(("shop", "ann"))
    assert refused.value.details["limit"] == "user.tokens_per_day"
    assert refused.value.retry_after_seconds == 43_199
    assert refused.value.allowance is not None
    assert refused.value.allowance.window_seconds == 86_400
    await bench.limits.turn(("shop", "ben"))
    bench.now_ms += DAY_MS // 2
    await bench.limits.turn(("shop", "ann"))
    bench.used["shop", None, day + 1] = 5000
    bench.now_ms += 1001
    with pytest.raises(QuotaExceeded):
        await bench.limits.turn(("shop", "ben"))


async def test_turns_of_one_second_ask_the_ledger_once() -> None:
    bench = Bench(user={"tokens_per_day": 1000})
    for _ in range(50):
        (await bench.limits.turn(("shop", "ann"))).free()
    assert bench.reads == 1


async def test_buckets_that_are_full_again_are_forgotten() -> None:
    bench = Bench(user={"requests_per_second": 1000, "burst": 2})
    for number in range(MOST_BUCKETS):
        await bench.limits.request(Principal("shop", "key", f"user-{number}"))
    bench.now += 1
    await bench.limits.request(ANN)
    assert len(bench.counters._buckets) == 1
