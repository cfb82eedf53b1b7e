"""Sweeps: what the server does again and again in the background, each at its own pace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from app.agents import Roster
from app.domain.errors import Unavailable
from app.house import House
from app.storage.engine.unit_of_work import WriteFailed

log = logging.getLogger(__name__)

EXPIRY_SECONDS = 30.0
RETENTION_SECONDS = 300.0
ACTS_SECONDS = 5.0


async def sweep_sessions(house: House) -> None:
    """Expire sessions whose time is up, delete those that were over for long enough."""
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        await guarded(house.endings.expire_due)
        await guarded(house.endings.delete_old)


async def sweep_acts(house: House) -> None:
    """Refuse what has waited for an answer too long."""
    while True:
        await asyncio.sleep(ACTS_SECONDS)
        await guarded(house.decisions.expire)


async def sweep_events(house: House, *, retention: timedelta) -> None:
    """Drop events and idempotency keys that are older than their retention."""
    retention_ms = int(retention.total_seconds() * 1000)
    while True:
        await guarded(lambda: house.live.durable.journal.expire(retention_ms=retention_ms))
        await asyncio.sleep(RETENTION_SECONDS)


async def sweep_memories(house: House, roster: Roster, *, clock_ms: Callable[[], int]) -> None:
    """Drop memories that are older than the retention of their agent."""
    while True:
        for agent in list(roster):
            settings = agent.config.memory.longterm
            if settings is not None and settings.retention is not None:
                before_ms = clock_ms() - int(settings.retention.total_seconds() * 1000)
                await guarded(partial(house.longterm.expire, agent.name, before_ms=before_ms))
        await asyncio.sleep(RETENTION_SECONDS)


async def guarded(sweep: Callable[[], Awaitable[object]]) -> None:
    """One round of background work; what it raises is logged, and the next round tries again."""
    try:
        await sweep()
    except (Unavailable, WriteFailed) as error:
        log.warning("the database does not answer, a sweep has to wait: %s", error)
    except Exception:  # the edge of a background sweep
        log.exception("a sweep failed")
