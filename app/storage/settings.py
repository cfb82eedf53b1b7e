"""Values of the server itself in the database, such as the key that hashes tombstones."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, bindparam, delete, insert, select

from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

_TOMBSTONE_KEY = "tombstone_key"
_PROBE = "probe"
_INSERT = insert(tables.settings)
_REMOVE = delete(tables.settings).where(tables.settings.c.name == bindparam("the_name"))


def find_tombstone_key(connection: Connection) -> bytes | None:
    table = tables.settings
    found: bytes | None = connection.execute(select(table.c.value).where(table.c.name == _TOMBSTONE_KEY)).scalar()
    return found


def make_tombstone_key() -> tuple[bytes, UnitOfWork]:
    """Make a key, and the unit that stores it."""
    key = secrets.token_bytes(32)
    unit = UnitOfWork("")
    unit.add(tables.settings.insert(), {"name": _TOMBSTONE_KEY, "value": key})
    return key, unit


def make_probe() -> UnitOfWork:
    """A unit that writes a meaningless value, to find out whether the database can write."""
    unit = UnitOfWork("")
    unit.add(_REMOVE, {"the_name": _PROBE})
    unit.add(_INSERT, {"name": _PROBE, "value": secrets.token_bytes(16)})
    return unit
