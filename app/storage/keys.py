"""Keys that were made at run time, in the database.

Each change of a row draws a new random `change`. Their sum tells other servers that something has changed, whatever the
order in which the changes were committed.
"""

from __future__ import annotations

import secrets

import orjson
from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from app.domain.made_key import MadeKey
from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

_k = tables.keys
_CHANGE_BITS = 40
"""The sum of a million of them is still a 64-bit integer."""
_INSERT = insert(_k)
_REVOKE = (
    update(_k)
    .where(_k.c.key_id == bindparam("the_key"), _k.c.revoked_ms.is_(None))
    .values(revoked_ms=bindparam("now_ms"), change=bindparam("new_change"))
)
_USE = (
    update(_k)
    .where(_k.c.key_id == bindparam("the_key"), or_(_k.c.used_ms.is_(None), _k.c.used_ms < bindparam("when_ms")))
    .values(used_ms=bindparam("when_ms"))
)


def add(unit: UnitOfWork, key: MadeKey) -> None:
    unit.add(
        _INSERT,
        {
            "key_id": key.key_id,
            "name": key.name,
            "hash": key.hash,
            "scopes": " ".join(key.scopes),
            "agents": None if key.agents is None else orjson.dumps(key.agents).decode(),
            "created_by": key.created_by,
            "created_ms": key.created_ms,
            "expires_ms": key.expires_ms,
            "used_ms": key.used_ms,
            "revoked_ms": key.revoked_ms,
            "change": secrets.randbits(_CHANGE_BITS),
        },
    )


def add_revocation(unit: UnitOfWork, key_id: str, *, now_ms: int) -> None:
    """Does nothing to a key that was revoked before."""
    unit.add(_REVOKE, {"the_key": key_id, "now_ms": now_ms, "new_change": secrets.randbits(_CHANGE_BITS)})


def add_use(unit: UnitOfWork, key_id: str, *, when_ms: int) -> None:
    """No change that other servers have to know."""
    unit.add(_USE, {"the_key": key_id, "when_ms": when_ms})


def version(connection: Connection) -> int:
    """Another number whenever a key was made or revoked."""
    return int(connection.execute(select(func.coalesce(func.sum(_k.c.change), 0))).scalar_one())


def stored(connection: Connection) -> tuple[int, list[MadeKey]]:
    """All keys, oldest first, and a version that is not newer than they are."""
    before = version(connection)
    rows = connection.execute(select(_k).order_by(_k.c.created_ms, _k.c.key_id))
    found = [
        MadeKey(
            row.key_id,
            row.name,
            bytes(row.hash),
            tuple(row.scopes.split()),
            None if row.agents is None else tuple(orjson.loads(row.agents)),
            row.created_by,
            row.created_ms,
            row.expires_ms,
            row.used_ms,
            row.revoked_ms,
        )
        for row in rows
    ]
    return before, found
