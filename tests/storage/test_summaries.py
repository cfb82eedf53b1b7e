"""Summaries of older messages, on every database: stored while their session lives, found by what they cover."""

from __future__ import annotations

from functools import partial

import pytest

from app.domain.session import SessionStatus
from app.domain.summary import Summary
from app.storage import summaries
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict
from tests.fixtures.rows import a_session, store_session


async def store(database: Database, *covered: int, session_id: str = "s1") -> None:
    for upto in covered:
        unit = UnitOfWork(session_id)
        summaries.add(unit, Summary(upto, f"up to {upto}", 5, "m", 1000))
        await database.submit(unit)


async def found(database: Database, before: int) -> str | None:
    summary = await database.read(partial(summaries.find, session_id="s1", before=before))
    return summary.text if summary is not None else None


async def test_the_latest_that_fits_is_found_and_old_ones_go(database: Database) -> None:
    await store_session(database, a_session())
    await store(database, *range(10, 70, 10))
    assert [await found(database, before) for before in (99, 60, 31, 30)] == ["up to 60", "up to 50", "up to 30", None]


@pytest.mark.parametrize("status", [SessionStatus.ENDED, None])
async def test_a_session_that_is_over_or_gone_gets_none(database: Database, status: SessionStatus | None) -> None:
    if status is not None:
        await store_session(database, a_session(status=status))
    with pytest.raises(WriteConflict):
        await store(database, 10)
    assert await found(database, 99) is None
