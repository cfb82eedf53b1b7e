"""Who may change a session where several servers share it: the database asks for the epoch of its owner."""

from __future__ import annotations

import pytest

from app.domain.errors import Unavailable
from app.storage import sessions
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.house import House


async def test_the_copy_of_a_session_that_another_server_owns_changes_nothing(house: House) -> None:
    log = await house.session("theirs")
    # As a request holds it that opened it a while ago: nobody tends it any more, and it does not know of its owner.
    log.follow_owner([], log.visible_seq, log.session)
    log.is_released = True
    with pytest.raises(Unavailable, match="Another server"):
        await house.sessions.describe(log, title="Mine", metadata={})
    stored = await house.database.read(lambda connection: sessions.find(connection, "theirs"))
    assert stored is not None
    assert stored.title is None


async def test_an_owner_of_before_changes_nothing(house: House) -> None:
    log = await house.session("taken")
    unit = UnitOfWork("taken")
    unit.calls.append(lambda connection: connection.exec_driver_sql("UPDATE sessions SET epoch = epoch + 1"))
    await house.database.submit(unit)
    log.is_released = True
    with pytest.raises(Unavailable, match="Another server"):
        await house.say(log, "Hi", "Hello")
    stored = await house.database.read(lambda connection: sessions.find(connection, "taken"))
    assert stored is not None
    assert stored.message_count == 0
