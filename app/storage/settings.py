"""Values the database keeps for the server itself, such as the key of its tombstones."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, select

from app.storage import tables
from app.storage.unit_of_work import UnitOfWork

_TOMBSTONE_KEY = "tombstone_key"


def find_tombstone_key(connection: Connection) -> bytes | None:
    table = tables.settings
    found: bytes | None = connection.execute(select(table.c.value).where(table.c.name == _TOMBSTONE_KEY)).scalar()
    return found


def make_tombstone_key() -> tuple[bytes, UnitOfWork]:
    """A fresh key and the unit that stores it."""
    key = secrets.token_bytes(32)
    unit = UnitOfWork("")
    unit.add(tables.settings.insert(), {"name": _TOMBSTONE_KEY, "value": key})
    return key, unit
