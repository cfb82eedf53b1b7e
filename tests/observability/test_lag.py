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
