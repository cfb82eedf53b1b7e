"""Leftovers: what the outbox holds of webhooks that are not configured any more. Loads nothing of the room."""

from __future__ import annotations

from app.storage import outbox
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork


async def delete_leftovers(database: Database) -> None:
    """There are no webhooks any more: nobody is told what is left."""
    if await database.read(outbox.find_any):
        unit = UnitOfWork("")
        outbox.add_drop_all(unit)
        await database.submit(unit)
