"""How late the loop is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from app.observability.lag import LoopLag


async def _until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not fact():
            await asyncio.sleep(0.01)


async def test_a_busy_loop_is_late_and_a_quiet_one_is_soon_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.lag._TICK_SECONDS", 0.01)
    lag = LoopLag(0.03)
    running = asyncio.create_task(lag.run())

    async def busy() -> None:
        while True:
            time.sleep(0.08)
            await asyncio.sleep(0)

    work = asyncio.create_task(busy())
    await _until(lambda: lag.seconds > lag.limit_seconds)
    work.cancel()
    await _until(lambda: lag.seconds < lag.limit_seconds / 2)
    running.cancel()


async def test_a_pause_is_no_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.lag._TICK_SECONDS", 0.01)
    lag = LoopLag(0.05)
    running = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    time.sleep(0.1)
    for _ in range(10):
        await asyncio.sleep(0.01)
        assert lag.seconds < lag.limit_seconds
    running.cancel()


async def test_a_stampede_begins_in_order_and_the_last_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.lag._PATIENCE_SECONDS", 0.15)
    lag = LoopLag(0.05)
    running = asyncio.create_task(lag.run())
    begun: list[int] = []

    async def turn(number: int) -> bool:
        if not await lag.may_begin():
            return False
        begun.append(number)
        time.sleep(0.01)  # what a turn's begin costs
        return True

    answers = await asyncio.gather(*[turn(number) for number in range(200)])
    running.cancel()

    assert begun == sorted(begun)
    assert len(begun) == answers.count(True)
    assert 16 <= len(begun) < 100
    assert not any(answers[len(begun) :])


async def test_a_few_are_let_in_while_connections_wait_and_all_when_none_do() -> None:
    lag = LoopLag(10)
    lag.connections = lambda: 1000
    running = asyncio.create_task(lag.run())
    turns = [asyncio.create_task(lag.may_begin()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len([turn for turn in turns if turn.done()]) == 16
    lag.connections = lambda: 0
    assert await asyncio.gather(*turns) == [True] * 20
    running.cancel()


async def test_who_leaves_while_waiting_takes_no_place_and_shutdown_lets_nobody_wait() -> None:
    lag = LoopLag(-1)  # never bearable
    running = asyncio.create_task(lag.run())
    left, stayed = (asyncio.create_task(lag.may_begin()) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    running.cancel()
    assert await stayed is False
    assert left.cancelled()
