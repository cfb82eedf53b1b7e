"""Messages in the database: pages from the newest back, answers for snapshots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.storage import messages
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import WriteConflict
from tests.fixtures.rows import a_message, store_messages


async def test_pages_go_back_in_time_and_read_forward(database: Database) -> None:
    stored = [a_message(seq) for seq in (2, 3, 5, 8, 13)]
    await store_messages(database, *stored, a_message(4, "s2"))

    async def page(before: int, limit: int) -> list[int]:
        found = await database.read(lambda connection: messages.page(connection, "s1", before=before, limit=limit))
        return [message.seq for message in found]

    assert await page(messages.NEWEST, 2) == [8, 13]
    assert await page(8, 2) == [3, 5]
    assert await page(3, 2) == [2]
    assert await page(2, 2) == []
    found = await database.read(lambda connection: messages.page(connection, "s1", limit=9))
    assert found == stored


async def test_a_place_holds_one_message(database: Database) -> None:
    await store_messages(database, a_message(2))
    with pytest.raises(WriteConflict):
        await store_messages(database, replace(a_message(2), message_id="other"))
    found = await database.read(lambda connection: messages.at(connection, "s1", 2))
    assert found == a_message(2)
    assert await database.read(lambda connection: messages.at(connection, "s1", 3)) is None


async def test_answers_are_the_assistants_between_two_numbers(database: Database) -> None:
    user = [a_message(seq, role="user") for seq in (1, 4)]
    await store_messages(database, *user, *[a_message(seq) for seq in (3, 6, 9)])
    found = await database.read(lambda connection: messages.answers(connection, "s1", after=3, upto=9, limit=9))
    assert [message.seq for message in found] == [6, 9]
